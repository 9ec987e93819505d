#include "polyscene/models/single/popularity.h"

#include "polyscene/data/interactions.h"
#include "polyscene/models/scene_scores.h"

namespace polyscene::models {

PopularityImpl::PopularityImpl(std::shared_ptr<const data::Schema> schema, PopularityOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  const auto& known = this->schema();
  TORCH_CHECK_VALUE(known.item >= 0, "Popularity: the data must have an item column; name it when the table is read");
  TORCH_CHECK_VALUE(options.scope() == "scene" || options.scope() == "overall",
                    "Popularity: scope must be 'scene' or 'overall', got '", options.scope(), "'");
  TORCH_CHECK_VALUE(options.smoothing() > 0, "Popularity: smoothing must be positive, got ", options.smoothing());
  const auto scenes = options.scope() == "scene" ? known.num_scenes() : 1;
  const auto items = known.categorical[known.item].rows();
  rate = register_buffer("rate", torch::full({scenes, items}, known.label_mean, torch::kFloat32));
  rows = register_buffer("rows", torch::zeros({scenes, items}));
}

torch::Tensor PopularityImpl::pick(const torch::Tensor& table, const data::Batch& batch) const {
  check(batch);
  const auto row = options.scope() == "scene" ? batch.scene : torch::zeros_like(batch.scene);
  return table.index({row, batch.item});
}

torch::Tensor PopularityImpl::forward(const data::Batch& batch) {
  if (schema().task == "sequence") {
    check(batch);
    return scene_scores(batch, schema().num_scenes(), [&](const torch::Tensor& mine, int64_t scene) {
      return score_items(mine, scene, scene_items(*this, scene));
    });
  }
  const auto out = pick(rate, batch);  // [B]
  return schema().task == "ctr" ? out.logit(1e-6) : out;
}

torch::Tensor PopularityImpl::score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
  const auto row = options.scope() == "scene" ? scene : 0;
  return rate[row].index_select(0, items).unsqueeze(0).expand({users.numel(), items.numel()});
}

Explanation PopularityImpl::explain(const data::Batch& batch) {
  return {{"rate", pick(rate, batch)}, {"rows", pick(rows, batch)}};
}

bool PopularityImpl::fit_closed_form(const data::Table& train) {
  const torch::NoGradGuard no_grad;
  const auto scenes = schema().num_scenes();
  const auto items = rate.size(1);
  if (schema().task == "ranking" || schema().task == "sequence") {
    // Users of the item in the scene; among items with as many, those with more elsewhere come first.
    auto seen = torch::zeros({scenes, items}, torch::kFloat64);  // [S, I]
    const auto known = data::Interactions::of(train);
    for (int64_t s = 0; s < scenes; ++s) seen[s].copy_(known->scene(s).item_offsets.diff());
    const auto counted = seen.sum(0);
    const auto share = counted / (counted.max() + 1);
    rate.copy_(options.scope() == "scene" ? seen + share : counted.unsqueeze(0));
    rows.copy_(options.scope() == "scene" ? seen : counted.unsqueeze(0));
    return true;
  }
  const auto cell = train.scenes() * items + train.items();                                               // [n]
  const auto seen = torch::bincount(cell, {}, scenes * items).view({scenes, items}).to(torch::kFloat64);  // [S, I]
  const auto total =
      torch::bincount(cell, train.labels().to(torch::kFloat64), scenes * items).view({scenes, items});  // [S, I]
  const auto k = options.smoothing();
  const auto overall = (total.sum(0) + k * schema().label_mean) / (seen.sum(0) + k);  // [I]
  const bool by_scene = options.scope() == "scene";
  rate.copy_(by_scene ? (total + k * overall) / (seen + k) : overall.unsqueeze(0));
  rows.copy_(by_scene ? seen : seen.sum(0, /*keepdim=*/true));
  return true;
}

torch::Tensor PopularityImpl::score_newcomers(const Met& met, int64_t scene, const torch::Tensor& items) {
  return score_items(torch::zeros({met.people()}, torch::kInt64), scene, items);
}

}  // namespace polyscene::models
