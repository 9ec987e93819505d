#include "polyscene/models/scene/star.h"

#include <cmath>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/norm_activation.h"
#include "polyscene/nn/scene_affine.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {

STARImpl::STARImpl(std::shared_ptr<const data::Schema> schema, STAROptions options_)
    : SceneModel(std::move(schema), options_.common, "STAR"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.norm() == "none" || options.norm() == "batch",
                    "STAR: norm must be one of none, batch, got '", options.norm(), "'");
  nn::check_dropout("STAR", options.dropout());
  const auto s = scenes(), width = input_size(), statistics = options.reference() ? 1 : s;
  scale = register_parameter("scale", torch::ones({1, width}));
  shift = register_parameter("shift", torch::zeros({1, width}));
  scene_scale = register_parameter("scene_scale", torch::zeros({s, width}));
  scene_shift = register_parameter("scene_shift", torch::zeros({s, width}));
  running_mean = register_buffer("running_mean", torch::zeros({statistics, width}));
  running_var = register_buffer("running_var", torch::ones({statistics, width}));
  const bool normed = options.reference() || options.norm() == "batch";
  auto input = width;
  for (const auto output : options.hidden()) {
    nn::check_positive("STAR", "hidden widths", output);
    add_layer("layer" + std::to_string(layers.size()), input, output, normed);
    input = output;
  }
  add_layer("output", input, 1, options.reference());
  if (!options.reference()) {
    auxiliary_scene = register_parameter("auxiliary_scene", torch::randn({s, common.dim()}) * common.init_std());
  }
  const auto mlp =
      nn::MLPOptions().hidden(options.auxiliary()).output(1).norm(normed ? "batch" : "none").dropout(options.dropout());
  auxiliary = register_module("auxiliary", nn::SceneMLP(width + (options.reference() ? 0 : common.dim()), mlp));
}

void STARImpl::add_layer(const std::string& name, int64_t input, int64_t output, bool normed) {
  // The reference draws both factors by Kaiming's rule with the output's width; the product starts as Xavier's.
  const auto bound = std::sqrt(6.0 / static_cast<double>(options.reference() ? output : input + output));
  const auto s = scenes();
  Layer layer;
  layer.weight = register_parameter(name + "_weight", torch::empty({1, 1, output, input}).uniform_(-bound, bound));
  auto own = torch::zeros({s, 1, output, input});
  if (options.reference()) own.uniform_(-bound, bound).sub_(1);
  layer.scene_weight = register_parameter(name + "_scene_weight", own);
  if (normed) {
    layer.scale = register_parameter(name + "_scale", torch::ones({s, output}));
    layer.shift = register_parameter(name + "_shift", torch::zeros({s, output}));
    layer.running_mean = register_buffer(name + "_running_mean", torch::zeros({s, output}));
    layer.running_var = register_buffer(name + "_running_var", torch::ones({s, output}));
  } else {
    layer.bias = register_parameter(name + "_bias", torch::zeros({1, output}));
    layer.scene_bias = register_parameter(name + "_scene_bias", torch::zeros({s, output}));
  }
  layers.push_back(layer);
}

torch::Tensor STARImpl::partitioned(const Rows& rows) {
  const auto gain = torch::addcmul(scale, scale, scene_scale), offset = shift + scene_shift;  // [S, E]
  if (!options.reference()) {
    return nn::norm_activation(rows.x, {}, {gain, offset, running_mean, running_var}, "identity", is_training(),
                               rows.groups);
  }
  const nn::SceneNorm whole = {torch::ones_like(running_mean), torch::zeros_like(running_mean), running_mean,
                               running_var};
  return nn::scene_affine(nn::norm_activation(rows.x, {}, whole, "identity", is_training(), rows.all), gain, offset,
                          rows.groups);
}

torch::Tensor STARImpl::through(size_t index, const torch::Tensor& h, const nn::SceneGroups& groups) {
  const auto& layer = layers[index];
  const auto weight = torch::addcmul(layer.weight, layer.weight, layer.scene_weight);  // [S, 1, O, I]
  const auto z = nn::scene_linear(h.unsqueeze(1), weight, {}, groups).flatten(1);
  const bool linear = index + 1 == layers.size() && !options.reference();
  const auto bias = layer.bias.defined() ? layer.bias + layer.scene_bias : torch::Tensor();  // [S, O]
  const auto out = nn::norm_activation(z, bias, {layer.scale, layer.shift, layer.running_mean, layer.running_var},
                                       linear ? "identity" : "relu", is_training(), groups);
  return index + 1 < layers.size() ? nn::drop(out, options.dropout(), is_training()) : out;
}

// The auxiliary network on [x, scene embedding].
torch::Tensor STARImpl::beside(const Rows& rows) {
  if (!auxiliary_scene.defined()) return auxiliary->forward(rows.x, rows.all);
  const auto z = auxiliary->first_with_scene(rows.x, auxiliary_scene, /*behind=*/true, rows.groups);
  return auxiliary->after_first(z, rows.all);
}

SceneModel::Answer STARImpl::body(const Rows& rows, bool explaining) {
  auto h = partitioned(rows);
  for (size_t index = 0; index + 1 < layers.size(); ++index) h = through(index, h, rows.groups);
  const auto star = through(layers.size() - 1, h, rows.groups).flatten();  // [B]
  const auto aside = beside(rows).flatten();                               // [B]
  nn::tell_output(*this, h);
  Answer out{star + aside, {}};
  if (explaining) out.parts = {{"star", star}, {"auxiliary", aside}};
  return out;
}

}  // namespace polyscene::models
