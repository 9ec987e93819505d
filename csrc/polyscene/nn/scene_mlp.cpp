#include "polyscene/nn/scene_mlp.h"

#include <cmath>
#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/layer_norm_activation.h"

namespace polyscene::nn {

SceneMLPImpl::SceneMLPImpl(int64_t input_size_, MLPOptions options_, int64_t scenes_, int64_t experts_)
    : input_size(input_size_), options(std::move(options_)), scenes(scenes_), experts(experts_) {
  check_positive("SceneMLP", "scenes", scenes);
  check_positive("SceneMLP", "experts", experts);
  MLPImpl(input_size, options);  // the same options, and the same messages about them
  reset();
}

void SceneMLPImpl::reset() {
  auto width = input_size;
  auto widths = options.hidden();
  if (options.output() > 0) widths.push_back(options.output());
  for (auto* list : {&weight, &bias, &scale, &shift, &running_mean, &running_var}) list->clear();
  for (int64_t layer = 0; layer < static_cast<int64_t>(widths.size()); ++layer) {
    const auto next = widths[layer];
    const auto bound = 1 / std::sqrt(static_cast<double>(width));
    const auto name = layer < layers() ? "layer" + std::to_string(layer) : std::string("output");
    weight.push_back(
        register_parameter(name + "_weight", torch::empty({scenes, experts, next, width}).uniform_(-bound, bound)));
    const bool normed = layer < layers() && options.norm() == "batch";
    bias.push_back(
        normed ? torch::Tensor()
               : register_parameter(name + "_bias", torch::empty({scenes, experts, next}).uniform_(-bound, bound)));
    width = next;
    if (layer >= layers() || options.norm() == "none") continue;
    scale.push_back(register_parameter(name + "_scale", torch::ones({scenes, experts, next})));
    shift.push_back(register_parameter(name + "_shift", torch::zeros({scenes, experts, next})));
    if (options.norm() != "batch") continue;
    running_mean.push_back(register_buffer(name + "_running_mean", torch::zeros({scenes, experts, next})));
    running_var.push_back(register_buffer(name + "_running_var", torch::ones({scenes, experts, next})));
  }
}

int64_t SceneMLPImpl::output_size() const { return options.output() > 0 ? options.output() : options.hidden().back(); }

torch::Tensor SceneMLPImpl::linear(int64_t layer, const torch::Tensor& h, const torch::Tensor& added,
                                   const SceneGroups& groups) {
  const auto& w = weight[layer];
  if (h.dim() == 2 && experts > 1) {  // all experts read the same rows: one GEMM
    const auto all = scene_linear(h.unsqueeze(1), w.reshape({scenes, 1, -1, w.size(3)}),
                                  added.defined() ? added.reshape({scenes, 1, -1}) : added, groups);
    return all.view({-1, experts, w.size(2)});
  }
  return scene_linear(h.dim() == 2 ? h.unsqueeze(1) : h, w, added, groups);
}

torch::Tensor SceneMLPImpl::hidden(int64_t layer, const torch::Tensor& h, const SceneGroups& groups) {
  check_width("SceneMLP", "x", h, weight[layer].size(3));
  TORCH_CHECK_VALUE(groups.scenes() == scenes, "SceneMLP: groups must be of ", scenes, " scenes, got ",
                    groups.scenes());
  return finish_hidden(layer, linear(layer, h, options.norm() == "layer" ? bias[layer] : torch::Tensor(), groups),
                       groups);
}

torch::Tensor SceneMLPImpl::finish_hidden(int64_t layer, const torch::Tensor& z, const SceneGroups& groups) {
  torch::Tensor out;
  if (options.norm() == "layer") {
    out = layer_norm_activation(z, scale[layer], shift[layer], options.activation(), groups);
  } else {
    SceneNorm norm;
    if (options.norm() == "batch") {
      norm = {scale[layer].view({scenes, -1}), shift[layer].view({scenes, -1}), running_mean[layer].view({scenes, -1}),
              running_var[layer].view({scenes, -1})};
    }
    const auto added = bias[layer].defined() ? bias[layer].view({scenes, -1}) : torch::Tensor();
    out = norm_activation(z.flatten(1), added, norm, options.activation(), is_training(), groups).view(z.sizes());
  }
  return tell_hidden(*this, layer, nn::drop(out, options.dropout(), is_training()));
}

torch::Tensor SceneMLPImpl::finish(const torch::Tensor& h, const SceneGroups& groups) {
  tell_output(*this, h);
  return linear(layers(), h, bias.back(), groups);
}

SceneLayer SceneMLPImpl::first(const SceneGroups& groups) const {
  const auto& w = weight.front();
  const bool added = layers() == 0 || options.norm() == "layer";
  return {w.reshape({scenes, 1, -1, w.size(3)}), added ? bias.front().reshape({scenes, 1, -1}) : torch::Tensor(),
          &groups};
}

torch::Tensor SceneMLPImpl::first_with_scene(const torch::Tensor& x, const torch::Tensor& vectors, bool behind,
                                             const SceneGroups& groups) {
  TORCH_CHECK_VALUE(scenes == 1 && experts == 1,
                    "SceneMLP: first_with_scene needs layers that all scenes share and one expert, got ", scenes,
                    " and ", experts);
  TORCH_CHECK_VALUE(x.dim() == 2 && vectors.dim() == 2 && vectors.size(0) == groups.scenes() &&
                        x.size(1) + vectors.size(1) == input_size,
                    "SceneMLP: x must be [B, I] and vectors [", groups.scenes(), ", D] with I + D = ", input_size,
                    ", got ", x.sizes(), " and ", vectors.sizes());
  const auto layer = first(groups);
  const auto width = vectors.size(1);
  const auto own = layer.weight.narrow(3, behind ? x.size(1) : 0, width);   // [1, 1, O, D]
  const auto rest = layer.weight.narrow(3, behind ? 0 : width, x.size(1));  // [1, 1, O, I]
  auto added = vectors.matmul(own[0][0].t()).unsqueeze(1);                  // [S, 1, O]
  if (layer.bias.defined()) added = added + layer.bias;
  return scene_linear(x.unsqueeze(1), rest.expand({groups.scenes(), -1, -1, -1}), added, groups).flatten(1);
}

torch::Tensor SceneMLPImpl::after_first(const torch::Tensor& z, const SceneGroups& groups) {
  auto h = z.view({z.size(0), experts, weight.front().size(2)});
  if (layers() == 0) return h;
  h = finish_hidden(0, h, groups);
  for (int64_t layer = 1; layer < layers(); ++layer) h = hidden(layer, h, groups);
  return options.output() > 0 ? finish(h, groups) : h;
}

torch::Tensor SceneMLPImpl::forward(const torch::Tensor& x, const SceneGroups& groups) {
  check_width("SceneMLP", "x", x, input_size);
  auto h = x;
  for (int64_t layer = 0; layer < layers(); ++layer) h = hidden(layer, h, groups);
  return options.output() > 0 ? finish(h, groups) : h;
}

}  // namespace polyscene::nn
