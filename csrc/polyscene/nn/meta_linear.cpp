#include "polyscene/nn/meta_linear.h"

#include "polyscene/nn/checks.h"
#include "polyscene/nn/norm_activation.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::nn {

MetaLinearImpl::MetaLinearImpl(int64_t scene_size_, int64_t input_size_, int64_t output_size_)
    : scene_size(scene_size_), input_size(input_size_), output_size(output_size_) {
  check_positive("MetaLinear", "scene_size", scene_size);
  check_positive("MetaLinear", "input_size", input_size);
  check_positive("MetaLinear", "output_size", output_size);
  reset();
}

void MetaLinearImpl::reset() {
  weight = register_module("weight", torch::nn::Linear(scene_size, output_size * input_size));
  bias = register_module("bias", torch::nn::Linear(scene_size, output_size));
}

torch::Tensor MetaLinearImpl::forward(const torch::Tensor& x, const torch::Tensor& scenes, const SceneGroups& groups,
                                      const torch::Tensor& fixed) {
  const auto same = fixed.defined() ? fixed.size(0) : 0;
  check_width("MetaLinear", "x", x, input_size - same);
  auto w = weight->forward(scenes).view({-1, output_size, input_size});  // [S, O, I]
  auto c = bias->forward(scenes);                                        // [S, O]
  if (same > 0) {
    c = c + w.narrow(2, input_size - same, same).matmul(fixed);
    w = w.narrow(2, 0, input_size - same);
  }
  const auto z = scene_linear(x.unsqueeze(1), w.unsqueeze(1), {}, groups).squeeze(1);  // [B, O]
  return norm_activation(z, c, {}, "leaky_relu", is_training(), groups);
}

}  // namespace polyscene::nn
