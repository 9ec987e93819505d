#include "polyscene/models/scene/m3oe.h"

#include <algorithm>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/mixture.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {

M3oEImpl::M3oEImpl(std::shared_ptr<const data::Schema> schema, M3oEOptions options_)
    : SceneModel(std::move(schema), options_.common, "M3oE"), options(std::move(options_)) {
  nn::check_positive("M3oE", "star", options.star());
  nn::check_positive("M3oE", "width", options.width());
  nn::check_positive("M3oE", "experts", options.experts());
  TORCH_CHECK_VALUE(!options.expert().empty(), "M3oE: expert must have a hidden layer, got []");
  const auto layers = nn::MLPOptions().norm(options.norm()).dropout(options.dropout());
  const auto into = nn::MLPOptions(layers).hidden({options.width()});
  star_weight =
      register_parameter("star_weight", torch::nn::init::xavier_uniform_(torch::empty({options.star(), input_size()})));
  star_bias = register_parameter("star_bias", torch::zeros({options.star()}));
  star_scale = register_parameter("star_scale", torch::ones({scenes(), options.star(), input_size()}));
  star_shift = register_parameter("star_shift", torch::zeros({scenes(), options.star()}));
  star_mlp = register_module("star_mlp", nn::SceneMLP(options.star(), into));
  skip = register_module("skip", nn::SceneMLP(input_size(), into));
  experts = register_module("experts", nn::SceneMLP(options.width(), nn::MLPOptions(layers).hidden(options.expert()),
                                                    /*scenes=*/1, options.experts() + scenes() + 1));
  gates = register_module("gates", nn::SceneGate(options.width(), options.experts(), scenes()));
  scene_own = register_parameter("scene_own", torch::ones({}));
  scene_share = register_parameter("scene_share", torch::ones({}));
  task_own = register_parameter("task_own", torch::ones({}));
  task_share = register_parameter("task_share", torch::ones({}));
  towers = register_module("towers", nn::SceneMLP(experts->output_size(),
                                                  nn::MLPOptions(layers).hidden(options.tower()).output(1), scenes()));
}

// Weights of the experts of scenes and of the task for the rows of each scene, [S, S + 1].
torch::Tensor M3oEImpl::balance() const {
  const auto same = torch::eye(scenes(), scene_own.options());
  const auto own = scene_own.sigmoid(), other = (1 - own) / std::max<int64_t>(scenes() - 1, 1);
  const auto of_scenes = scene_share.sigmoid() * (same * own + (1 - same) * other);  // [S, S]
  const auto of_task = (task_share.sigmoid() * task_own.sigmoid()).expand({scenes(), 1});
  return torch::cat({of_scenes, of_task}, 1);
}

SceneModel::Answer M3oEImpl::body(const Rows& rows, bool explaining) {
  const auto star = nn::scene_linear(rows.x.unsqueeze(1), (star_weight * star_scale).unsqueeze(1),
                                     (star_bias + star_shift).unsqueeze(1), rows.groups);  // [B, 1, H]
  const auto z = (star_mlp->forward(star, rows.all) + skip->forward(rows.x, rows.all)).flatten(1);
  const auto gate = gates->forward(z.detach(), rows.groups);              // [B, K]
  const auto balanced = balance().index_select(0, rows.batch.scene);      // [B, S + 1]
  const auto weight = torch::cat({gate, balanced}, 1);                    // [B, K + S + 1]
  const auto mixed = nn::mixture(weight, experts->forward(z, rows.all));  // [B, H]
  Answer out{towers->forward(mixed, rows.groups).flatten(), {}};
  if (explaining) out.parts = {{"gates", gate}, {"balance", balanced}};
  return out;
}

}  // namespace polyscene::models
