#pragma once

#include "polyscene/models/base.h"

namespace polyscene::eval {

/// Neighbours of an item, the most alike first.
struct Similar {
  torch::Tensor item;   ///< int64 [n], rows of the item vocabulary, n <= k
  torch::Tensor scene;  ///< int64 [n]
  torch::Tensor score;  ///< float32 [n], cosine of vectors, or the weight between items
};

/// The `k` items with training rows in scene `to` (-1: in any) that are most like an item of scene `from` (-1: where it
/// has most rows). An item stands once, where it is most alike; equal ones come in the order of scenes and items.
/// Throws ValueError before training, for a model that cannot compare items, for an unknown item or one
/// without training rows in `from`, for scenes whose items the model cannot compare, for k below 1; IndexError for a
/// scene that is none.
Similar similar_items(models::Model& model, int64_t item, int64_t from = -1, int64_t to = -1, int64_t k = 10);

}  // namespace polyscene::eval
