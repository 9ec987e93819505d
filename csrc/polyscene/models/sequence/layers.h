#pragma once

#include <torch/torch.h>

#include "polyscene/nn/layer_norm_activation.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {

/// x through the linear layer of block `n`, [L, O].
inline torch::Tensor linear_of(const torch::nn::ModuleList& layers, int64_t n, const torch::Tensor& x) {
  const auto& linear = layers->at<torch::nn::LinearImpl>(n);
  return nn::dense(x, linear.weight, linear.bias);
}

/// x through a layer norm, [L, D]; threads change no bit.
inline torch::Tensor normalised(const torch::nn::LayerNormImpl& norm, const torch::Tensor& x) {
  const auto parameter = [](const torch::Tensor& each) { return each.view({1, 1, -1}); };
  return nn::layer_norm_activation(x.unsqueeze(1), parameter(norm.weight), parameter(norm.bias), "identity",
                                   nn::SceneGroups::all(x.size(0)), norm.options.eps())
      .squeeze(1);
}

/// x through the layer norm of block `n`, [L, D].
inline torch::Tensor norm_of(const torch::nn::ModuleList& norms, int64_t n, const torch::Tensor& x) {
  return normalised(norms->at<torch::nn::LayerNormImpl>(n), x);
}

inline torch::nn::LayerNorm norm_layer(int64_t width, double eps) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(eps));
}

}  // namespace polyscene::models
