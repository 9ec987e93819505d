#include "polyscene/nn/scene_gate.h"

#include <cmath>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/scene_linear.h"
#include "polyscene/nn/softmax.h"

namespace polyscene::nn {

SceneGateImpl::SceneGateImpl(int64_t input_size_, int64_t choices_, int64_t scenes_, bool normed_)
    : input_size(input_size_), choices(choices_), scenes(scenes_), normed(normed_) {
  check_positive("SceneGate", "input_size", input_size);
  check_positive("SceneGate", "choices", choices);
  check_positive("SceneGate", "scenes", scenes);
  reset();
}

void SceneGateImpl::reset() {
  const auto bound = 1 / std::sqrt(static_cast<double>(input_size));
  weight = register_parameter("weight", torch::empty({scenes, 1, choices, input_size}).uniform_(-bound, bound));
  if (!normed) return;
  scale = register_parameter("scale", torch::ones({scenes, choices}));
  shift = register_parameter("shift", torch::zeros({scenes, choices}));
  running_mean = register_buffer("running_mean", torch::zeros({scenes, choices}));
  running_var = register_buffer("running_var", torch::ones({scenes, choices}));
}

torch::Tensor SceneGateImpl::forward(const torch::Tensor& x, const SceneGroups& groups) {
  check_width("SceneGate", "x", x, input_size);
  return after_first(scene_linear(x.unsqueeze(1), weight, {}, groups).flatten(1), groups);
}

torch::Tensor SceneGateImpl::after_first(const torch::Tensor& z, const SceneGroups& groups) {
  if (!normed) return softmax_rows(z);
  return softmax_rows(
      norm_activation(z, {}, {scale, shift, running_mean, running_var}, "identity", is_training(), groups));
}

}  // namespace polyscene::nn
