#include "polyscene/nn/gate_nu.h"

#include <cmath>
#include <numeric>
#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/norm_activation.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::nn {

GateNUImpl::GateNUImpl(int64_t prior_size_, int64_t rest_size_, std::vector<int64_t> outputs_, int64_t hidden,
                       int64_t scenes_)
    : prior_size(prior_size_), rest_size(rest_size_), outputs(std::move(outputs_)), scenes(scenes_) {
  check_positive("GateNU", "prior_size", prior_size);
  check_positive("GateNU", "scenes", scenes);
  TORCH_CHECK_VALUE(rest_size >= 0, "GateNU: rest_size must be 0 or more, got ", rest_size);
  TORCH_CHECK_VALUE(hidden >= 0, "GateNU: hidden must be 0 or more, got ", hidden);
  TORCH_CHECK_VALUE(!outputs.empty(), "GateNU: outputs must name a width, got []");
  for (const auto output : outputs) {
    check_positive("GateNU", "every output", output);
    widths.push_back(hidden > 0 ? hidden : output);
  }
  reset();
}

void GateNUImpl::reset() {
  const auto total = std::accumulate(widths.begin(), widths.end(), int64_t{0});
  const auto bound = 1 / std::sqrt(static_cast<double>(prior_size + rest_size));
  const auto draw = [&](at::IntArrayRef sizes) { return torch::empty(sizes).uniform_(-bound, bound); };
  prior_weight = register_parameter("prior_weight", draw({scenes, 1, total, prior_size}));
  if (rest_size > 0) rest_weight = register_parameter("rest_weight", draw({scenes, 1, total, rest_size}));
  bias = register_parameter("bias", draw({scenes, total}));
  out_weight.clear();
  out_bias.clear();
  for (size_t l = 0; l < outputs.size(); ++l) {
    const auto name = "out" + std::to_string(l);
    out_weight.push_back(register_parameter(name + "_weight", torch::zeros({scenes, 1, outputs[l], widths[l]})));
    out_bias.push_back(register_parameter(name + "_bias", torch::zeros({scenes, 1, outputs[l]})));
  }
}

std::vector<torch::Tensor> GateNUImpl::forward(const torch::Tensor& prior, const torch::Tensor& rest,
                                               const SceneGroups& groups) {
  check_width("GateNU", "prior", prior, prior_size);
  check_width("GateNU", "rest", rest, rest_size);
  auto z = scene_linear(prior.unsqueeze(1), prior_weight, {}, groups).flatten(1);  // [B, H]
  if (rest_size > 0) z = z + scene_linear(rest.detach().unsqueeze(1), rest_weight, {}, groups).flatten(1);
  const auto parts = norm_activation(z, bias, {}, "relu", is_training(), groups).split_with_sizes(widths, 1);
  std::vector<torch::Tensor> out;
  for (size_t l = 0; l < outputs.size(); ++l) {
    out.push_back(2 * scene_linear(parts[l].unsqueeze(1), out_weight[l], out_bias[l], groups).flatten(1).sigmoid());
  }
  return out;
}

}  // namespace polyscene::nn
