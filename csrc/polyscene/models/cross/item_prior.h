#pragma once

#include <torch/torch.h>

#include "polyscene/data/interactions.h"

namespace polyscene::models {

/// What an item says of another one of its scene before any training: the greatest positive weights of EASE (Steck,
/// WWW 2019), at most `kKept` an item.
///
///   B = I - P / diag(P),  P = (X'X + l2 I)^-1
///
/// S scenes, I item rows; items are rows of a table, scene * I + item.
class ItemPrior {
 public:
  static constexpr int64_t kKept = 100;

  ItemPrior() = default;
  /// Solves each scene: n^3 operations for the smaller side. Throws ValueError where `EaseWeights` does.
  ItemPrior(const data::Interactions& known, double l2);

  /// B[k, j] between the entries `place` [n, L] of each row, float [n, L, L]; 0 across scenes and where `there` [n, L],
  /// bool, is false.
  torch::Tensor between(const torch::Tensor& place, const torch::Tensor& there) const;

 private:
  torch::Tensor keys_;    // int64, k S I + j, ascending
  torch::Tensor values_;  // float
  int64_t places_ = 0;    // S I
};

}  // namespace polyscene::models
