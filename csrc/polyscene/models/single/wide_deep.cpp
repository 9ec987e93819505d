#include "polyscene/models/single/wide_deep.h"

namespace polyscene::models {

WideDeepImpl::WideDeepImpl(std::shared_ptr<const data::Schema> schema, WideDeepOptions options_)
    : FieldModel(std::move(schema), options_.common, "WideDeep", {.linear = true}), options(std::move(options_)) {
  const auto layers = nn::MLPOptions().hidden(options.hidden()).norm(options.norm()).dropout(options.dropout());
  deep = register_module("deep", nn::SceneMLP(input_size(), nn::MLPOptions(layers).output(1)));
}

SceneModel::Answer WideDeepImpl::body(const Rows& rows, bool explaining) {
  const auto wide = linear(rows);
  const auto high = deep->forward(rows.x, rows.all).flatten();  // [B]
  Answer out{wide.logits + high, wide.penalty};
  if (explaining) out.parts = {{"linear", wide.logits}, {"deep", high}};
  return out;
}

}  // namespace polyscene::models
