#include "polyscene/models/cross/scene_factors.h"

#include <algorithm>

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
      phase.of_known = true;
      out.push_back(std::move(phase));
    }
  }
  if (out.empty()) out.emplace_back();
  return out;
}

std::vector<Phase> SceneFactorModel::with_mapping(int64_t epochs, int64_t batch_size) const {
  auto out = factor_phases();
  const auto both = user_rows.gt(0).sum(0).ge(2).nonzero().squeeze(1);
  if (both.numel() == 0) return out;
  Phase mapping;
  mapping.name = "map";
  mapping.frozen = {"user", "item"};
  mapping.epochs = epochs;
  mapping.batch_size = batch_size;
  mapping.users = both;
  mapping.newest = true;  // what it serves may be nobody among the validation rows
  out.push_back(std::move(mapping));
  return out;
}

torch::Tensor SceneFactorModel::over_pairs(
    const torch::Tensor& rows, const torch::Tensor& zero,
    const std::function<torch::Tensor(int64_t, int64_t, const torch::Tensor&)>& each) const {
  auto total = zero;
  int64_t count = 0;
  for (int64_t t = 0; t < scenes(); ++t) {
    const auto in_t = rows.index_select(0, seen_in(t, rows));
    for (int64_t s = 0; s < scenes() && in_t.numel() > 0; ++s) {
      if (s == t) continue;
      const auto both = in_t.index_select(0, seen_in(s, in_t));
      if (both.numel() == 0) continue;
      total = total + each(s, t, both);
      count += both.numel();
    }
  }
  return total / static_cast<double>(std::max<int64_t>(count, 1));
}

torch::Tensor SceneFactorModel::over_sources(
    int64_t to, const torch::Tensor& rows,
    const std::function<torch::Tensor(int64_t, const torch::Tensor&)>& each) const {
  auto sum = torch::zeros({rows.numel(), common.dim()}, user->weight.options().requires_grad(false));
  auto count = torch::zeros({rows.numel(), 1}, sum.options());
  for (int64_t s = 0; s < scenes(); ++s) {
    if (s == to) continue;
    const auto there = seen_in(s, rows);
    if (there.numel() == 0) continue;
    sum = sum.index_add(0, there, each(s, rows.index_select(0, there)));
    count.index_add_(0, there, torch::ones({there.numel(), 1}, count.options()));
  }
  return sum / count.clamp_min(1);
}

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
