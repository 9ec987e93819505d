#pragma once

#include <torch/torch.h>

#include "polyscene/nn/scene_groups.h"

namespace polyscene::nn {

/// Scale and shift of each scene, on rows grouped by scene, in one pass:
///
///   out[b] = scale[scene of b] * x[b] + shift[scene of b]
///
/// Shapes: x [B, C], scale and shift [S, C]; result [B, C]. Throws ValueError for shapes that do not fit.
torch::Tensor scene_affine(const torch::Tensor& x, const torch::Tensor& scale, const torch::Tensor& shift,
                           const SceneGroups& groups);

}  // namespace polyscene::nn
