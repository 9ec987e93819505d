#include "polyscene/models/scene/mmoe.h"

#include "polyscene/nn/mixture.h"

namespace polyscene::models {

MMoEImpl::MMoEImpl(std::shared_ptr<const data::Schema> schema, MMoEOptions options_)
    : SceneModel(std::move(schema), options_.common, "MMoE"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.experts() >= 0, "MMoE: experts must be 0 or more, got ", options.experts());
  TORCH_CHECK_VALUE(!options.expert().empty(), "MMoE: expert must have a hidden layer, got []");
  const auto count = options.experts() > 0 ? options.experts() : scenes();
  const auto layers = nn::MLPOptions().norm(options.norm()).dropout(options.dropout());
  experts = register_module(
      "experts", nn::SceneMLP(input_size(), nn::MLPOptions(layers).hidden(options.expert()), /*scenes=*/1, count));
  gates = register_module("gates", nn::SceneGate(input_size(), count, scenes(), options.reference()));
  towers = register_module("towers", nn::SceneMLP(experts->output_size(),
                                                  nn::MLPOptions(layers).hidden(options.tower()).output(1), scenes()));
}

SceneModel::Answer MMoEImpl::body(const Rows& rows, bool explaining) {
  const auto [choice, values] = nn::scene_linear(rows.x, gates->first(rows.groups), experts->first(rows.all));
  const auto weight = gates->after_first(choice, rows.groups);                 // [B, K]
  const auto z = nn::mixture(weight, experts->after_first(values, rows.all));  // [B, H]
  Answer out{towers->forward(z, rows.groups).flatten(), {}};
  if (explaining) out.parts = {{"gates", weight}};
  return out;
}

}  // namespace polyscene::models
