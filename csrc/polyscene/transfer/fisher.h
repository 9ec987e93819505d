#pragma once

#include "polyscene/data/table.h"
#include "polyscene/models/base.h"
#include "polyscene/transfer/fusion.h"

namespace polyscene::transfer {

/// Options for `fisher`.
struct FisherOptions {
  TORCH_ARG(int64_t, batches) = 64;
  TORCH_ARG(int64_t, batch_size) = 32;
  TORCH_ARG(int64_t, seed) = 2022;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("batches", self.batches(), "batches of rows, drawn without replacement while there are enough");
    visit("batch_size", self.batch_size(), "rows of a batch (B)");
    visit("seed", self.seed(), "seed of the rows and of the labels");
  }
};

/// Diagonal Fisher information of each parameter, in evaluation mode:
///
///   F_p = E_x E_{y ~ p(y | x)} (d log p(y | x) / d theta_p)^2
///
/// Labels are drawn from the model itself, so the gradient of a row has mean 0 and B times the squared gradient of the
/// mean over B rows is an unbiased estimate: one backward a batch in the place of one a row. Ratings count as normal
/// with variance 1; in a sequence an item of the scene is drawn after a row's past. Parameters that the rows do not
/// reach have 0. Leaves the model's gradients empty.
///
/// Throws ValueError for options that are not positive, an empty table, or a task without probabilities.
State fisher(models::Model& model, const data::Table& table, const FisherOptions& options = {});

/// How many training rows looked up each row of each lookup table, int64 [V] by parameter name: rows of the batches'
/// fields and lists, and items of the events that a model follows. Tables whose fields are not known are left out.
State lookups(const models::Model& model, const data::Table& train);

}  // namespace polyscene::transfer
