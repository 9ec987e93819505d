#include "polyscene/models/scene/shared_bottom.h"

namespace polyscene::models {

SharedBottomImpl::SharedBottomImpl(std::shared_ptr<const data::Schema> schema, SharedBottomOptions options_)
    : SceneModel(std::move(schema), options_.common, "SharedBottom"), options(std::move(options_)) {
  const auto layers = nn::MLPOptions().norm(options.norm()).dropout(options.dropout());
  bottom = register_module("bottom", nn::SceneMLP(input_size(), nn::MLPOptions(layers).hidden(options.bottom())));
  towers = register_module("towers", nn::SceneMLP(bottom->output_size(),
                                                  nn::MLPOptions(layers).hidden(options.tower()).output(1), scenes()));
}

SceneModel::Answer SharedBottomImpl::body(const Rows& rows, bool) {
  const auto h = bottom->forward(rows.x, rows.all);        // [B, 1, H]
  return {towers->forward(h, rows.groups).flatten(), {}};  // [B]
}

}  // namespace polyscene::models
