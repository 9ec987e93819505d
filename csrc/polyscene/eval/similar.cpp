#include "polyscene/eval/similar.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/eval/codes.h"
#include "polyscene/models/multi/specialist.h"
#include "polyscene/models/registry.h"

namespace polyscene::eval {

Similar similar_items(models::Model& model, int64_t item, int64_t from, int64_t to, int64_t k) {
  const auto finds = [&](int64_t scene) {
    return dynamic_cast<models::FindsSimilar*>(&models::answering(model, scene));
  };
  TORCH_CHECK_VALUE(finds(0), "similar_items: ", model.name(), " has nothing to compare items by; those that can: ",
                    join(models::list(&models::Entry::finds_similar)));
  TORCH_CHECK_VALUE(model.history() && model.history()->item_count.defined(), "similar_items: ", model.name(),
                    " was not trained yet, it knows no items; fit it first");
  const auto& counts = model.history()->item_count;  // [S, I]
  const auto scenes = counts.size(0);
  TORCH_CHECK_VALUE(k > 0, "similar_items: k must be positive, got ", k);
  TORCH_CHECK_VALUE(item >= data::kFirstId && item < counts.size(1), "similar_items: no item has row ", item);
  for (const auto scene : {from, to}) {
    TORCH_CHECK_INDEX(scene >= -1 && scene < scenes, "similar_items: scene must be in [0, ", scenes, ") or -1, got ",
                      scene);
  }
  const auto rows = counts.select(1, item);  // [S]
  if (from < 0) from = rows.argmax().item<int64_t>();
  if (rows[from].item<int64_t>() == 0) {
    std::vector<std::string> having;
    for (int64_t s = 0; s < scenes; ++s) {
      if (rows[s].item<int64_t>() > 0) having.push_back(scene_name(model.schema(), s));
    }
    const auto id = model.schema().categorical[model.schema().item].ids.at(item - data::kFirstId);
    TORCH_CHECK_VALUE(!having.empty(), "similar_items: item '", id, "' has no training rows");
    TORCH_CHECK_VALUE(false, "similar_items: item '", id, "' has no training rows in scene '",
                      scene_name(model.schema(), from), "'; it has some in: ", join(having));
  }
  const torch::NoGradGuard no_grad;
  const models::EvaluationMode evaluating(model);
  model.encode();
  struct Found {
    float score;
    int64_t scene, item;
  };
  std::vector<Found> all;
  bool comparable = false;
  for (int64_t s = 0; s < scenes; ++s) {
    if (to >= 0 && s != to) continue;
    const auto items = counts[s].slice(0, data::kFirstId).gt(0).nonzero().squeeze(1) + data::kFirstId;
    if (items.numel() == 0) continue;
    const auto score = finds(s)->similarity(item, from, s, items).to(torch::kFloat32).contiguous();
    comparable = comparable || s == from || score.isfinite().any().item<bool>();
    for (int64_t c = 0; c < items.numel(); ++c) {
      const Found each{score.const_data_ptr<float>()[c], s, items.const_data_ptr<int64_t>()[c]};
      if (each.item != item && std::isfinite(each.score)) all.push_back(each);
    }
  }
  TORCH_CHECK_VALUE(comparable || to < 0, "similar_items: ", model.name(), " cannot compare items of '",
                    scene_name(model.schema(), from), "' with those of '", scene_name(model.schema(), to),
                    "': each scene has a space of its own; ask for the item's scene, or use a model that the scenes "
                    "share, such as cmf, light_gcn or cross_ease");
  std::stable_sort(all.begin(), all.end(), [](const Found& a, const Found& b) { return a.score > b.score; });
  std::vector<int64_t> ids, where;
  std::vector<float> scores;
  for (size_t n = 0; n < all.size() && static_cast<int64_t>(ids.size()) < k; ++n) {
    if (std::find(ids.begin(), ids.end(), all[n].item) != ids.end()) continue;
    ids.push_back(all[n].item);
    where.push_back(all[n].scene);
    scores.push_back(all[n].score);
  }
  return {torch::tensor(ids, torch::kInt64), torch::tensor(where, torch::kInt64), torch::tensor(scores)};
}

}  // namespace polyscene::eval
