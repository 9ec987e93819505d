#pragma once

#include "polyscene/data/batch.h"
#include "polyscene/models/base.h"

namespace polyscene::eval {

/// Scores of `items` (int64 [C], ascending) in a scene for rows of it that carry what their users did before, [B, C]:
/// by `FollowsEvents`, else by `ServesNewcomers`, else by the model's forward. Throws ValueError for other shapes.
torch::Tensor scores_after(models::Model& model, data::Batch rows, int64_t scene, const torch::Tensor& items);

/// What the model scores `items` (int64 [C], ascending) with for `users` (int64 [U]) in a scene, [U, C], float32, to be
/// written to: the model's own memory stays as it is. Throws ValueError for another shape.
torch::Tensor scores_for(models::Model& model, const torch::Tensor& users, int64_t scene, const torch::Tensor& items);

/// How many past events of a row `scores_after` wants: those that the model follows, or all for one that says nothing
/// or picks those of a scene.
int64_t events_wanted(const models::Model& model);

}  // namespace polyscene::eval
