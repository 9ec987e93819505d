#pragma once

#include "polyscene/data/batch.h"
#include "polyscene/models/base.h"

namespace polyscene::eval {

/// What carried recommendations to one person. L pairs of the person, N recommendations.
struct Reasons {
  torch::Tensor item;   ///< int64 [L], rows of the item vocabulary: what the person met, in all scenes
  torch::Tensor scene;  ///< int64 [L]
  torch::Tensor part;   ///< float32 [N, L], what each pair adds to the score of each recommendation
};

/// Parts of the scores of `items` in `scenes` (int64 [N] each) for a user (a row of the vocabulary, 0 for a newcomer)
/// with `events` since training (of one person; undefined: none).
/// Throws ValueError before training, for a model that gives no reasons or kept no behaviour; IndexError for a user, an
/// item or a scene that is none.
Reasons recommendation_reasons(models::Model& model, int64_t user, const data::Events& events,
                               const torch::Tensor& items, const torch::Tensor& scenes);

}  // namespace polyscene::eval
