#include "polyscene/models/scene/m2m.h"

#include <cmath>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/mixture.h"
#include "polyscene/nn/softmax.h"

namespace polyscene::models {
namespace {

constexpr const char* kM2M = "M2M";

}  // namespace

M2MImpl::M2MImpl(std::shared_ptr<const data::Schema> schema, M2MOptions options_)
    : SceneModel(std::move(schema), options_.common, kM2M), options(std::move(options_)) {
  for (const auto& [name, value] : {std::pair{"heads", options.heads()},
                                    {"feedforward", options.feedforward()},
                                    {"experts", options.experts()},
                                    {"width", options.width()},
                                    {"attention_layers", options.attention_layers()},
                                    {"tower_layers", options.tower_layers()}}) {
    nn::check_positive(kM2M, name, value);
  }
  TORCH_CHECK_VALUE(options.blocks() >= 0, kM2M, ": blocks must be 0 or more, got ", options.blocks());
  TORCH_CHECK_VALUE(options.blocks() == 0 || common.dim() % options.heads() == 0, kM2M, ": heads must divide dim, got ",
                    options.heads(), " heads and dim ", common.dim());
  const auto width = options.width();
  blocks = register_module("blocks", torch::nn::ModuleList());
  for (int64_t block = 0; block < (slots() > 0 ? options.blocks() : 0); ++block) {
    blocks->push_back(nn::FieldAttention(common.dim(), nn::FieldAttentionOptions()
                                                           .heads(options.heads())
                                                           .feedforward(options.feedforward())
                                                           .dropout(options.dropout())));
  }
  const auto layers = nn::MLPOptions().activation("leaky_relu").norm(options.norm());
  experts = register_module(
      "experts", nn::SceneMLP(input_size(), nn::MLPOptions(layers).hidden({width}), /*scenes=*/1, options.experts()));
  // Vectors of unit length or so: weights made from smaller ones would start alike in all scenes.
  const auto std = 1 / std::sqrt(static_cast<double>(width));
  scene_vectors = register_parameter("scene_vectors", torch::randn({scenes(), width}) * std);
  scene_layers =
      register_module("scene_layers", nn::SceneMLP(width, nn::MLPOptions().activation("leaky_relu").hidden({width})));
  task_vector = register_parameter("task_vector", torch::randn({width}) * std);
  attention = register_module("attention", torch::nn::ModuleList());
  for (int64_t layer = 0; layer < options.attention_layers(); ++layer) {
    attention->push_back(nn::MetaLinear(width, 2 * width, 2 * width));
  }
  attention_vector = register_parameter("attention_vector", torch::empty({2 * width}).uniform_(-std, std));
  tower = register_module("tower", torch::nn::ModuleList());
  for (int64_t layer = 0; layer < options.tower_layers(); ++layer) {
    tower->push_back(nn::MetaLinear(width, width, width));
  }
  head = register_module(
      "head", nn::SceneMLP(width, nn::MLPOptions(layers).hidden(options.head()).output(1).dropout(options.dropout())));
}

torch::Tensor M2MImpl::attend(const torch::Tensor& experts, const torch::Tensor& scenes,
                              const nn::SceneGroups& groups) {
  const auto count = options.experts();
  auto pairs = groups;  // row b expert k is row b K + k
  for (auto& offset : pairs.offsets) offset *= count;
  auto h = experts.reshape({-1, options.width()});  // [B K, H]
  for (int64_t layer = 0; layer < options.attention_layers(); ++layer) {
    h = attention[layer]->as<nn::MetaLinear>()->forward(h, scenes, pairs, layer == 0 ? task_vector : torch::Tensor());
  }
  return nn::softmax_rows(h.mv(attention_vector).view({-1, count}));  // [B, K]
}

SceneModel::Answer M2MImpl::body(const Rows& rows, bool explaining) {
  auto x = rows.x;
  if (!blocks->is_empty()) {
    auto fields = rows.slots;  // [B, F, D]
    for (const auto& block : *blocks) fields = block->as<nn::FieldAttention>()->forward(fields);
    x = fields.flatten(1);
    if (x.size(1) < input_size()) x = torch::cat({x, rows.x.narrow(1, x.size(1), input_size() - x.size(1))}, 1);
  }
  const auto values = experts->forward(x, rows.all);                                                   // [B, K, H]
  const auto scene = scene_layers->forward(scene_vectors, nn::SceneGroups::all(scenes())).flatten(1);  // [S, H]
  const auto weight = attend(values, scene, rows.groups);
  auto state = nn::mixture(weight, values);  // [B, H]
  for (const auto& layer : *tower) {
    state = torch::leaky_relu(layer->as<nn::MetaLinear>()->forward(state, scene, rows.groups) + state);
  }
  Answer out{head->forward(state, rows.all).flatten(), {}};
  if (explaining) out.parts = {{"attention", weight}};
  return out;
}

}  // namespace polyscene::models
