#pragma once

#include <torch/torch.h>

#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {

/// x through the linear layer of block `n`, [L, O].
inline torch::Tensor linear_of(const torch::nn::ModuleList& layers, int64_t n, const torch::Tensor& x) {
  const auto& linear = layers->at<torch::nn::LinearImpl>(n);
  return nn::dense(x, linear.weight, linear.bias);
}

/// x through the layer norm of block `n`, [L, D].
inline torch::Tensor norm_of(const torch::nn::ModuleList& norms, int64_t n, const torch::Tensor& x) {
  const auto& norm = norms->at<torch::nn::LayerNormImpl>(n);
  return torch::layer_norm(x, norm.options.normalized_shape(), norm.weight, norm.bias, norm.options.eps());
}

inline torch::nn::LayerNorm norm_layer(int64_t width, double eps) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(eps));
}

}  // namespace polyscene::models
