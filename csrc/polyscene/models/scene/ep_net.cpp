#include "polyscene/models/scene/ep_net.h"

namespace polyscene::models {

EPNetImpl::EPNetImpl(std::shared_ptr<const data::Schema> schema, EPNetOptions options_)
    : SceneModel(std::move(schema), options_.common, "EPNet"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.gate() >= 0, "EPNet: gate must be 0 or more, got ", options.gate());
  scene_prior = register_parameter("scene_prior", torch::randn({scenes(), common.dim()}) * common.init_std());
  gate = register_module("gate", nn::GateNU(common.dim(), input_size(), std::vector{input_size()}, options.gate()));
  const auto hidden = options.reference() ? std::vector<int64_t>{} : options.tower();
  tower = register_module(
      "tower", nn::SceneMLP(input_size(),
                            nn::MLPOptions().hidden(hidden).output(1).norm(options.norm()).dropout(options.dropout())));
}

SceneModel::Answer EPNetImpl::body(const Rows& rows, bool explaining) {
  const auto logit = gate->of_scenes(scene_prior, rows.x, rows.groups)[0];  // [B, E]
  Answer out{tower->forward(nn::gated(logit, rows.x), rows.all).flatten(), {}};
  if (explaining) out.parts = {{"gate", 2 * logit.sigmoid()}};
  return out;
}

}  // namespace polyscene::models
