#include "polyscene/models/cross/scene_factors.h"

namespace polyscene::models {

SceneFactorModel::SceneFactorModel(std::shared_ptr<const data::Schema> schema, RankingOptions common_,
                                   std::string map_users, const char* owner)
    : FactorModel(std::move(schema), std::move(common_), owner), cold_only_(map_users == "cold") {
  TORCH_CHECK_VALUE(map_users == "cold" || map_users == "overlapping", owner,
                    ": map_users must be 'cold' or 'overlapping', got '", map_users, "'",
                    suggestion(map_users, {"cold", "overlapping"}));
  user = register_module("user", scene_tables(scenes(), users(), common.dim()));
  item = register_module("item", scene_tables(scenes(), items(), common.dim()));
  user_rows = register_buffer("user_rows", torch::zeros({scenes(), users()}, torch::kInt32));
  stage = register_buffer("stage", torch::zeros({}, torch::kInt64));
}

void SceneFactorModel::prepare(const data::Table& train) {
  FactorModel::prepare(train);
  for (int64_t s = 0; s < scenes(); ++s) user_rows[s].copy_(known().scene(s).user_offsets.diff());
}

void SceneFactorModel::begin_phase(const Phase& phase) { stage.fill_(phase.users.defined() ? 1 : 0); }

std::vector<Phase> SceneFactorModel::factor_phases() const {
  std::vector<Phase> out;
  const auto pairs = user_rows.sum(1);  // [S]
  const auto& names = schema().scenes;
  for (size_t s = 0; s < names.size(); ++s) {
    if (pairs[static_cast<int64_t>(s)].item<int64_t>() > 0) {
      Phase phase;
      phase.name = "factors of " + names[s];
      phase.scenes = {names[s]};
      out.push_back(std::move(phase));
    }
  }
  if (out.empty()) out.emplace_back();
  return out;
}

torch::Tensor SceneFactorModel::overlapping() const { return user_rows.gt(0).sum(0).ge(2).nonzero().squeeze(1); }

torch::Tensor SceneFactorModel::seen_in(int64_t scene, const torch::Tensor& users) const {
  return user_rows[scene].index_select(0, users).gt(0).nonzero().squeeze(1);
}

torch::Tensor SceneFactorModel::own_users(int64_t scene, const torch::Tensor& rows) {
  return user->forward(rows + scene * users());
}

torch::Tensor SceneFactorModel::user_factors(const torch::Tensor& rows, const torch::Tensor& scene,
                                             std::vector<torch::Tensor>* looked_up) {
  auto out = user->forward(scene * users() + rows);  // [n, D]
  if (looked_up) looked_up->push_back(out);
  if (stage.item<int64_t>() == 0 || scenes() < 2) return out;
  const auto seen = user_rows.index_select(1, rows).gt(0);          // [S, n]
  const auto here = seen.gather(0, scene.unsqueeze(0)).squeeze(0);  // [n]
  const auto elsewhere = seen.sum(0).gt(here.to(torch::kInt64));    // [n]
  const auto served = cold_only_ ? elsewhere.logical_and(here.logical_not()) : elsewhere;
  for (int64_t t = 0; t < scenes(); ++t) {
    const auto mine = served.logical_and(scene.eq(t)).nonzero().squeeze(1);
    if (mine.numel() > 0) out = out.index_copy(0, mine, transferred(t, rows.index_select(0, mine)));
  }
  return out;
}

torch::Tensor SceneFactorModel::item_factors(const torch::Tensor& rows, const torch::Tensor& scene,
                                             std::vector<torch::Tensor>* looked_up) {
  const auto out = item->forward(scene * items() + rows);
  if (looked_up) looked_up->push_back(out);
  return out;
}

}  // namespace polyscene::models
