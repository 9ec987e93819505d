#pragma once

#include <torch/torch.h>

#include "polyscene/nn/scene_groups.h"

namespace polyscene::nn {

/// What `prune` left.
struct Pruned {
  torch::Tensor out;   ///< pi h, [B, N]
  torch::Tensor kept;  ///< share of factors of each row that are not 0, [B]
};

/// Prunes neurons by factors of their own (Yang et al., CIKM 2022, arXiv:2206.13108), in one pass:
///
///   v = scale sigma(u + shift_s)                                                          s the row's scene
///   pi = v 1[v > threshold]   or, binary,   pi = 1[v > threshold];   out = pi h
///
/// The step has no slope; where it stands alone, in binary factors and in `kept`, its gradient is passed straight
/// through to v (Bengio, Leonard, Courville, arXiv:1308.3432), so that a pruned neuron may come back. Shapes: h and u
/// [B, N], shift [S, N]; rows are grouped by scene. Throws ValueError for shapes that do not fit.
Pruned prune(const torch::Tensor& h, const torch::Tensor& u, const torch::Tensor& shift, const SceneGroups& groups,
             double scale, double threshold, bool binary);

}  // namespace polyscene::nn
