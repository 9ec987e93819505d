#pragma once

#include <torch/torch.h>

#include <string>

#include "polyscene/nn/scene_groups.h"

namespace polyscene::nn {

/// What `norm_activation` normalises with; all undefined: no normalisation.
struct SceneNorm {
  torch::Tensor scale;         ///< gamma, [S, C]
  torch::Tensor shift;         ///< beta, [S, C]
  torch::Tensor running_mean;  ///< [S, C], moved in training
  torch::Tensor running_var;   ///< [S, C], moved in training
  double momentum = 0.1;       ///< share of a batch in the running statistics
  double eps = 1e-5;
};

/// Batch norm with statistics of each scene, then an activation, in two passes over memory:
///
///   out = act(gamma_s (z - mean_s) / sqrt(var_s + eps) + beta_s)               mean, var over the rows of scene s
///
/// In training mean and var (biased) are the batch's and move the running ones (with the unbiased variance: Ioffe &
/// Szegedy, ICML 2015); a scene with fewer than two rows has no variance: it uses its running statistics and leaves
/// them. In evaluation the running ones are used, so that a prediction depends on its row alone. Without a norm: out =
/// act(z + bias); a bias in front of a norm would be taken off again, so only one of the two may be given.
///
/// Shapes: z [B, C], bias [S, C] or undefined; result [B, C]. Activations: relu, leaky_relu (slope 0.01), tanh,
/// sigmoid, identity run in raw loops; gelu and silu as well, by operators. The bits do not depend on threads.
torch::Tensor norm_activation(const torch::Tensor& z, const torch::Tensor& bias, const SceneNorm& norm,
                              const std::string& activation, bool training, const SceneGroups& groups);

}  // namespace polyscene::nn
