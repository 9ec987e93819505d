#pragma once

#include <torch/torch.h>

#include <string>

#include "polyscene/nn/scene_groups.h"

namespace polyscene::nn {

/// Layer norm of each row and expert with scale and shift of the row's scene, then an activation, in one pass over
/// memory (Ba et al., 2016):
///
///   out = act(gamma_{s,e} (z - mean) / sqrt(var + eps) + beta_{s,e})       mean, var (biased) over the O of row and
///   expert
///
/// Shapes: rows grouped by scene, z [B, E, O], scale and shift [S, E, O]; result [B, E, O]. Activations: relu,
/// leaky_relu (slope 0.01), tanh, sigmoid, identity run in raw loops; gelu and silu as well, by operators. The bits do
/// not depend on threads. Throws ValueError for shapes that do not fit.
torch::Tensor layer_norm_activation(const torch::Tensor& z, const torch::Tensor& scale, const torch::Tensor& shift,
                                    const std::string& activation, const SceneGroups& groups, double eps = 1e-5);

/// What a torch::nn::LayerNorm over the last of two dimensions gives, by the same loops: [L, D].
inline torch::Tensor layer_norm(const torch::Tensor& x, const torch::nn::LayerNormImpl& norm) {
  const auto parameter = [](const torch::Tensor& each) { return each.view({1, 1, -1}); };
  return layer_norm_activation(x.unsqueeze(1), parameter(norm.weight), parameter(norm.bias), "identity",
                               SceneGroups::all(x.size(0)), norm.options.eps())
      .squeeze(1);
}

/// x [L, D] through the layer norm `n` of a list.
inline torch::Tensor layer_norm(const torch::Tensor& x, const torch::nn::ModuleList& norms, int64_t n) {
  return layer_norm(x, norms->at<torch::nn::LayerNormImpl>(n));
}

}  // namespace polyscene::nn
