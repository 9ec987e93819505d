#include "polyscene/nn/scene_gate.h"

#include <cmath>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/scene_linear.h"

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
  auto z = scene_linear(x.unsqueeze(1), weight, {}, groups).flatten(1);  // [B, K]
  if (normed) {
    z = norm_activation(z, {}, {scale, shift, running_mean, running_var}, "identity", is_training(), groups);
  }
  return z.softmax(1);
}

}  // namespace polyscene::nn
