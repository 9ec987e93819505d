#pragma once

#include "polyscene/data/table.h"
#include "polyscene/models/base.h"

namespace polyscene::transfer {

/// Options for `recompute_statistics`.
struct StatisticsOptions {
  TORCH_ARG(int64_t, batch_size) = 1024;
  TORCH_ARG(double, momentum) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("batch_size", self.batch_size(), "rows of a batch");
    visit("momentum", self.momentum(), "share of a batch in the running statistics of the model's norms");
  }
};

/// Running means and variances of batch norm as the model has them on the rows of a table, each the mean over batches
/// of what training would take from them (as torch.optim.swa_utils.update_bn): what must follow a fusion of models. A
/// scene without rows keeps its statistics. Other buffers and the mode end as they were. Returns how many buffers were
/// recomputed; 0 for a model without batch norm. Throws ValueError for an empty table or options out of range.
int64_t recompute_statistics(models::Model& model, const data::Table& table, const StatisticsOptions& options = {});

}  // namespace polyscene::transfer
