#pragma once

#include <torch/torch.h>

namespace polyscene::models {

/// Inverse of a symmetric positive definite matrix [n, n], row by row in memory. Give the matrix away: two of its size
/// live at a time.
inline torch::Tensor inverse_of(torch::Tensor matrix) {
  auto factor = at::linalg_cholesky(matrix);
  matrix.reset();
  auto inverse = torch::cholesky_inverse(factor);
  factor.reset();
  return inverse.t().contiguous();  // it comes column by column, which is the same: nothing is copied
}

}  // namespace polyscene::models
