#include "polyscene/nn/scene_affine.h"

#include "polyscene/nn/norm_activation.h"

namespace polyscene::nn {

torch::Tensor scene_affine(const torch::Tensor& x, const torch::Tensor& scale, const torch::Tensor& shift,
                           const SceneGroups& groups) {
  TORCH_CHECK_VALUE(scale.sizes() == shift.sizes(), "scene_affine: scale and shift must have one shape, got ",
                    scale.sizes(), " and ", shift.sizes());
  // Batch norm in evaluation with mean 0 and variance 1 is this map, and has its gradients in two passes.
  const auto options = scale.options().requires_grad(false);
  const SceneNorm norm = {
      scale,          shift,    torch::zeros(scale.sizes(), options), torch::ones(scale.sizes(), options),
      /*momentum=*/0, /*eps=*/0};
  return norm_activation(x, {}, norm, "identity", /*training=*/false, groups);
}

}  // namespace polyscene::nn
