#pragma once

#include "polyscene/nn/scene_linear.h"

namespace polyscene::nn {

/// What a torch::nn::Linear gives for x [..., I], by the kernels of `product`: [..., O].
inline torch::Tensor dense(const torch::nn::LinearImpl& layer, const torch::Tensor& x) {
  if (x.dim() == 2) return dense(x, layer.weight, layer.bias);
  auto shape = x.sizes().vec();
  shape.back() = layer.weight.size(0);
  return dense(x.reshape({-1, layer.weight.size(1)}), layer.weight, layer.bias).view(shape);
}

}  // namespace polyscene::nn
