#pragma once

#include <torch/torch.h>

#include <utility>

#include "polyscene/nn/scene_groups.h"

namespace polyscene::nn {

/// A linear layer of each scene, on rows grouped by scene; within it E experts side by side:
///
///   out[b, e] = W[scene of b, e] x[b, e] + bias[scene of b, e]
///
/// Shapes: x [B, E, I], weight [S, E, O, I], bias [S, E, O] or undefined; result [B, E, O]. S is groups.scenes(), so
/// that one group makes a layer that all scenes share. One GEMM for each scene that has rows, and expert; where all
/// experts read the same x, ask for one expert of E O outputs. Throws ValueError for shapes that do not fit.
torch::Tensor scene_linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                           const SceneGroups& groups);

/// A layer of `scene_linear` over a shared x.
struct SceneLayer {
  torch::Tensor weight;       ///< [S, E, O, I]
  torch::Tensor bias;         ///< [S, E, O] or undefined
  const SceneGroups* groups;  ///< of S scenes; must live until the call returns
};

/// Two layers that read the same x, such as experts and their gate: their gradients of x add up as they are made,
/// where autograd would write both and then read them again for the sum.
///
/// Shapes: x [B, I], each weight with one expert; results [B, O] each.
std::pair<torch::Tensor, torch::Tensor> scene_linear(const torch::Tensor& x, const SceneLayer& first,
                                                     const SceneLayer& second);

/// The same for one layer that all rows share: x weight^T + bias.
///
/// Shapes: x [B, I], weight [O, I], bias [O] or undefined; result [B, O].
torch::Tensor dense(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias = {});

}  // namespace polyscene::nn
