#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Products of each row with rows of its own: out[b, k] = one[b] . many[b, k], in one pass, as are its gradients.
///
/// Shapes: one [B, D], many [B K, D] (those of row b lie together), result [B, K] with K = `count`. Raw loops on plain
/// float32 and float64 CPU tensors, ATen everywhere else. Throws ValueError for shapes that do not fit.
torch::Tensor row_products(const torch::Tensor& one, const torch::Tensor& many, int64_t count);

}  // namespace polyscene::nn
