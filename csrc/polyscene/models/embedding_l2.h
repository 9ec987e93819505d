#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <vector>

namespace polyscene::models {

/// l2 / 2B times the sum of squares of what a batch of B rows looked up; undefined without l2.
inline torch::Tensor embedding_penalty(const std::vector<torch::Tensor>& looked_up, double l2, int64_t rows) {
  if (l2 <= 0 || looked_up.empty()) return {};
  torch::Tensor sum;
  for (const auto& block : looked_up) {
    const auto squares = block.square().sum();
    sum = sum.defined() ? sum + squares : squares;
  }
  return sum * (0.5 * l2 / static_cast<double>(std::max<int64_t>(rows, 1)));
}

}  // namespace polyscene::models
