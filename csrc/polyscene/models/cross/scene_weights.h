#pragma once

#include <string>
#include <vector>

#include "polyscene/models/base.h"

namespace polyscene::models {

/// Weights of scenes as a tensor [S]; undefined for none. A scene that stands for unseen ones, which has no training
/// rows, weighs 1. Throws ValueError unless there is one for each scene of the schema, none below 0 and not all 0.
torch::Tensor scene_weights(const char* owner, const data::Schema& schema, const std::vector<double>& weights);

/// Weight of each row [B], such that a weighted mean over rows becomes sum_s w_s mean(rows of s) / sum_s w_s over the
/// scenes s of the batch. Those of the batch where `weights` is undefined.
torch::Tensor row_weights(const torch::Tensor& weights, const data::Batch& batch);

}  // namespace polyscene::models
