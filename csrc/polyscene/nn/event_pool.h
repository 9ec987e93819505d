#pragma once

#include <torch/torch.h>

#include "polyscene/data/batch.h"
#include "polyscene/nn/lookup.h"

namespace polyscene::nn {

/// Options for `EventPool`.
struct EventPoolOptions {
  int64_t dim = 16;        ///< width of a row (D)
  int64_t length = 100;    ///< how many past events count, the newest
  double init_std = 1e-2;  ///< standard deviation of the initial rows
};

/// What a user's past events say of their taste, whatever their labels: the implicit part of SVD++ (Koren, KDD 2008).
///
///   h = |N|^(-1/2) sum_{j in N} y[item_j]                N: the newest `length` events of a row; h = 0 without any
///
/// Its rows y are not those of the candidate item: what an item says of who looked at it is not what it is. Rows of
/// unknown and missing items start at zero.
///
/// Shapes: y [items, D], result [B, D].
class EventPoolImpl : public torch::nn::Cloneable<EventPoolImpl> {
 public:
  /// Throws ValueError for options that are not positive, or a negative `init_std`.
  EventPoolImpl(int64_t items, EventPoolOptions options = {});
  void reset() override;
  /// For `rows` rows; zeros for events that are undefined. Throws IndexError for an item outside the table.
  torch::Tensor forward(const data::Events& events, int64_t rows);

  EventPoolOptions options;
  torch::nn::Embedding item = nullptr;  ///< y

 private:
  FieldRows rows_;
};
TORCH_MODULE(EventPool);

}  // namespace polyscene::nn
