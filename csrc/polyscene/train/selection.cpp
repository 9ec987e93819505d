#include "polyscene/train/selection.h"

#include "polyscene/data/classes.h"
#include "polyscene/data/history.h"
#include "polyscene/data/interactions.h"

namespace polyscene::train {

data::Table rows_of(const data::Table& table, const std::vector<std::string>& scenes) {
  if (scenes.empty()) return table;
  std::vector<int64_t> wanted;
  for (const auto& name : scenes) wanted.push_back(table.schema().scene(name));
  const auto of_scenes = torch::isin(table.scenes(), torch::tensor(wanted));
  return table.take(of_scenes.nonzero().squeeze(1));
}

data::Table of_known(const data::Table& table, const data::Table& train, const models::Model& model) {
  const auto history = train.history() ? train.history() : model.history();
  if (!history || model.schema().user < 0 || model.schema().item < 0) return table;
  const auto known = history->interactions();
  const auto users = table.users(), scenes = table.scenes();
  std::vector<int64_t> out;
  for (int64_t r = 0; r < table.size(); ++r) {
    const auto user = users.const_data_ptr<int64_t>()[r];
    const auto& scene = known->scene(scenes.const_data_ptr<int64_t>()[r]);
    if (user >= data::kFirstId && scene.degree(user) > 0) out.push_back(r);
  }
  return table.take(torch::tensor(out, torch::kInt64));
}

torch::Tensor balance(const data::Table& table, bool classes, bool scenes) {
  if (!classes && !scenes) return {};
  auto weight = torch::ones({table.size()});
  const auto divide = [&](const torch::Tensor& group) {
    const auto sums = torch::bincount(group, weight.to(torch::kFloat64));
    const auto present = static_cast<double>(sums.gt(0).sum().item<int64_t>());
    const auto factor = sums.sum() / (present * sums.clamp_min(1e-12));
    weight = weight * factor.index_select(0, group).to(torch::kFloat32);
  };
  if (classes) {
    const auto label = table.labels();
    divide((data::has_classes(table.schema().task) ? label : label.gt(0.5)).to(torch::kInt64));
  }
  if (scenes) divide(table.scenes());
  return weight;
}

}  // namespace polyscene::train
