#include "polyscene/models/single/deep_fm.h"

#include "polyscene/nn/mixture.h"

namespace polyscene::models {

DeepFMImpl::DeepFMImpl(std::shared_ptr<const data::Schema> schema, DeepFMOptions options_)
    : FieldModel(std::move(schema), options_.common, "DeepFM", {.linear = true, .numbers = true}),
      options(std::move(options_)) {
  const auto layers = nn::MLPOptions().hidden(options.hidden()).norm(options.norm()).dropout(options.dropout());
  deep = register_module("deep", nn::SceneMLP(input_size(), nn::MLPOptions(layers).output(1)));
}

SceneModel::Answer DeepFMImpl::body(const Rows& rows, bool explaining) {
  const auto first = linear(rows);
  const auto pairs = nn::pair_products(fields(rows));           // [B]
  const auto high = deep->forward(rows.x, rows.all).flatten();  // [B]
  Answer out{first.logits + pairs + high, first.penalty};
  if (explaining) out.parts = {{"linear", first.logits}, {"pairs", pairs}, {"deep", high}};
  return out;
}

}  // namespace polyscene::models
