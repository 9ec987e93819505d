#pragma once

#include <ATen/autocast_mode.h>

#include "polyscene/nn/scene_linear.h"

namespace polyscene::nn {

/// What a torch::nn::Linear gives for x [..., I], by the kernels of `product`: [..., O]. Under autocast it is torch's.
inline torch::Tensor dense(const torch::Tensor& x, const torch::nn::LinearImpl& layer) {
  if (at::autocast::is_autocast_enabled(x.device().type())) return torch::linear(x, layer.weight, layer.bias);
  if (x.dim() == 2) return dense(x, layer.weight, layer.bias);
  auto shape = x.sizes().vec();
  shape.back() = layer.weight.size(0);
  return dense(x.reshape({-1, layer.weight.size(1)}), layer.weight, layer.bias).view(shape);
}

/// x through the linear layer `n` of a list.
inline torch::Tensor dense(const torch::Tensor& x, const torch::nn::ModuleList& layers, int64_t n) {
  return dense(x, layers->at<torch::nn::LinearImpl>(n));
}

}  // namespace polyscene::nn
