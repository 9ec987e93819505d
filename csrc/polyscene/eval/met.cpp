#include "polyscene/eval/met.h"

#include <algorithm>

namespace polyscene::eval {

data::Events behaviour(const data::History& history, const torch::Tensor& user, const data::Events& events,
                       int64_t length) {
  if (!events.defined()) return history.before(user, {}, {}, length);
  const auto owner = torch::arange(user.numel()).repeat_interleave(events.offsets.diff());
  // Users as rows of a history of their own: its vocabulary has the two rows that stand for nobody first.
  const auto before = history.before(user, {}, {}, length);
  data::History merged;
  merged.schema = history.schema;
  const auto shift = torch::zeros({data::kFirstId}, torch::kInt64);
  merged.offsets = torch::cat({shift, before.offsets});
  merged.item = before.item;
  merged.scene = before.scene;
  merged.label = before.label;
  merged.time = before.time;
  merged.row = torch::full({before.item.numel()}, -1, torch::kInt64);
  merged.interest = before.interest;
  const auto all = merged.append(owner + data::kFirstId, events);
  return all->before(torch::arange(user.numel()) + data::kFirstId, {}, {}, length);
}

models::Met met_of(const data::Events& events) {
  const auto people = events.offsets.numel() - 1;
  const auto* at = events.offsets.const_data_ptr<int64_t>();
  const auto item = events.item.to(torch::kInt64).contiguous(), scene = events.scene.contiguous();
  std::vector<int64_t> offsets = {0}, items, scenes;
  for (int64_t n = 0; n < people; ++n) {
    std::vector<std::pair<int64_t, int64_t>> pairs;
    for (auto e = at[n]; e < at[n + 1]; ++e) {
      const auto id = item.const_data_ptr<int64_t>()[e];
      if (id >= data::kFirstId) pairs.emplace_back(scene.const_data_ptr<int64_t>()[e], id);
    }
    std::sort(pairs.begin(), pairs.end());
    pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
    for (const auto& [s, i] : pairs) {
      scenes.push_back(s);
      items.push_back(i);
    }
    offsets.push_back(static_cast<int64_t>(items.size()));
  }
  return {torch::tensor(offsets, torch::kInt64), torch::tensor(items, torch::kInt64),
          torch::tensor(scenes, torch::kInt64)};
}

}  // namespace polyscene::eval
