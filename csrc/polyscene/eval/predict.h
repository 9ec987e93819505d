#pragma once

#include "polyscene/data/table.h"
#include "polyscene/models/base.h"

namespace polyscene::eval {

/// Rows that one evaluation batch holds unless said otherwise.
inline constexpr int64_t kEvaluationBatch = 4096;

/// Logits (ctr) or predictions (rating) of every row of `table` in table order, float [n]; the model is put into
/// evaluation mode for it and no gradients are recorded.
/// Throws ValueError when the table belongs to another schema, or a score is NaN (names the row).
torch::Tensor predict_logits(models::Model& model, const data::Table& table, int64_t batch_size = kEvaluationBatch);

}  // namespace polyscene::eval
