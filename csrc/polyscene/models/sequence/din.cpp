#include "polyscene/models/sequence/din.h"

#include "polyscene/models/sequence/target_attention.h"

namespace polyscene::models {

DINImpl::DINImpl(std::shared_ptr<const data::Schema> schema, DINOptions options_)
    : EventModel(std::move(schema), options_.common, "DIN"), options(std::move(options_)) {
  nn::check_dice_activation("DIN", options.activation());
  attention = register_module("attention", nn::DiceMLP(4 * width(), options.attention(), options.activation()));
  network = register_module(
      "network", nn::DiceMLP(input_size() + 2 * width(), options.hidden(), options.activation(), options.dropout()));
}

SceneModel::Answer DINImpl::body(const Rows& rows, bool explaining) {
  const auto events = behaviour(rows);
  const auto v = target(rows);
  auto weight = activation_unit(attention, v.index_select(0, events.row), events.keys);  // [L]
  if (options.softmax()) weight = events.softmax(weight);
  const auto u = events.sum(weight.unsqueeze(1) * events.keys);  // [B, H]
  Answer out{network->forward(torch::cat({rows.x, u, u * v}, 1)), {}};
  if (explaining) out.parts = attended(events, weight);
  return out;
}

}  // namespace polyscene::models
