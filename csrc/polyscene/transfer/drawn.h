#pragma once

#include <vector>

#include "polyscene/data/table.h"
#include "polyscene/models/base.h"

namespace polyscene::transfer {

/// Batches that a mechanism draws for itself, beside those of the trainer: with replacement, the same number of rows
/// from every scene that has any. What batch number n holds depends on the seed and on n alone.
class Drawn {
 public:
  /// About `rows` rows a batch, at least one of each scene. Throws ValueError that opens with `owner` for an empty
  /// table, another schema than the model's, and rows that are not positive.
  Drawn(const char* owner, const models::Model& model, data::Table table, int64_t rows, int64_t seed);

  /// Rows grouped by scene.
  data::Batch batch(int64_t number) const;
  /// Scenes that have rows, ascending.
  const std::vector<int64_t>& scenes() const { return scenes_; }
  const data::Table& table() const { return table_; }

 private:
  data::Table table_;
  int64_t each_, history_;
  uint64_t seed_;
  std::vector<int64_t> scenes_;
  std::vector<torch::Tensor> rows_;  // of each of them, int64
};

/// The width H of what a model's head reads, found on the first row of a table, in evaluation mode.
int64_t representation_width(models::Model& model, const data::Table& table);

/// The loss of a batch and what the head read of its rows, [B, H], of one pass where the model's loss tells it.
struct LossAndHead {
  torch::Tensor loss, head;
};
LossAndHead loss_and_head(models::Model& model, const data::Batch& batch);

}  // namespace polyscene::transfer
