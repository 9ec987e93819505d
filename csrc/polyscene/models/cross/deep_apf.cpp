#include "polyscene/models/cross/deep_apf.h"

#include <cmath>

#include "polyscene/nn/dense.h"

namespace polyscene::models {

using torch::Tensor;

DeepAPFImpl::DeepAPFImpl(std::shared_ptr<const data::Schema> schema, DeepAPFOptions options_)
    : PairModel(std::move(schema), options_.common, "DeepAPF"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(of_users() || options.shared() == "items", "DeepAPF: shared must be 'users' or 'items', got '",
                    options.shared(), "'");
  const auto dim = common.dim();
  common_factors = register_module("common", xavier_table(of_users() ? users() : items(), dim));
  user = register_module("user", scene_tables(scenes(), users(), dim));
  item = register_module("item", scene_tables(scenes(), items(), dim));
  attention = register_module("attention", torch::nn::Linear(dim, dim));
  const auto bound = 1 / std::sqrt(static_cast<double>(dim));
  attention_weight = register_parameter("attention_weight", torch::empty({dim}).uniform_(-bound, bound));
  weight = register_parameter("weight", torch::empty({dim}).uniform_(-bound, bound));
}

PairModel::Parts DeepAPFImpl::shared_parts(const Tensor& id, const Tensor& scene, Parts* looked_up) {
  const auto known = history() ? history()->interactions() : nullptr;
  const auto rows = of_users() ? users() : items();
  if (!known || known != known_) {
    known_ = known;
    in_ = !known       ? torch::zeros({scenes(), rows}, torch::kBool)
          : of_users() ? present_users(*known)
                       : present_items(*known);
  }
  const auto in = presence_of(in_, id);                         // [n, S]
  const auto here = in.gather(1, scene.unsqueeze(1));           // [n, 1]
  const auto elsewhere = in.sum(1, /*keepdim=*/true).gt(here);  // [n, 1]
  auto& mine = of_users() ? user : item;
  // What does not take part is read as the row of unknown ids, so that sparse gradients hold no others.
  const auto both = common_factors->forward(id * elsewhere.squeeze(1));
  const auto own = mine->forward(rows_in(scene, id * here.squeeze(1), rows));
  const auto type = both.scalar_type();
  const auto c = both * elsewhere.to(type), m = own * here.to(type);  // [n, D]
  if (looked_up) looked_up->insert(looked_up->end(), {c, m});
  return {c, m, elsewhere, here};
}

PairModel::Parts DeepAPFImpl::user_parts(const Tensor& rows, const Tensor& scene, const nn::SceneGroups&,
                                         Parts* looked_up) {
  if (of_users()) return shared_parts(rows, scene, looked_up);
  const auto u = user->forward(rows_in(scene, rows, users()));
  if (looked_up) looked_up->push_back(u);
  return {u};
}

PairModel::Parts DeepAPFImpl::item_parts(const Tensor& rows, const Tensor& scene, const nn::SceneGroups&,
                                         Parts* looked_up) {
  if (!of_users()) return shared_parts(rows, scene, looked_up);
  const auto v = item->forward(rows_in(scene, rows, items()));
  if (looked_up) looked_up->push_back(v);
  return {v};
}

// a(x) for x and y that broadcast to [A, K, D]; [A, K].
Tensor DeepAPFImpl::attended(const Tensor& x, const Tensor& y) const {
  const auto both = x * y;
  const auto hidden = nn::dense(both.view({-1, both.size(2)}), *attention).relu();
  return torch::mv(hidden, attention_weight).view({both.size(0), both.size(1)});
}

Tensor DeepAPFImpl::common_share(const Parts& shared, const Tensor& other) const {
  const auto elsewhere = shared[2].squeeze(2), here = shared[3].squeeze(2);  // [A or 1, 1 or K]
  const auto share = torch::sigmoid(attended(shared[0], other) - attended(shared[1], other));
  return torch::where(elsewhere.logical_and(here), share, elsewhere.to(share.scalar_type()));
}

Explanation DeepAPFImpl::explain(const data::Batch& batch) {
  check(batch);
  auto user_side = user_parts(batch.user, batch.scene, {}, nullptr);
  auto item_side = item_parts(batch.item, batch.scene, {}, nullptr);
  auto& shared = of_users() ? user_side : item_side;
  for (auto& part : shared) part = part.unsqueeze(1);
  const auto other = (of_users() ? item_side[0] : user_side[0]).unsqueeze(1);
  return {{"common", common_share(shared, other).squeeze(1)}};
}

Tensor DeepAPFImpl::combine(const Parts& user, const Parts& item, const nn::SceneGroups&) {
  const auto& shared = of_users() ? user : item;
  const auto& other = of_users() ? item[0] : user[0];
  const auto &c = shared[0], &m = shared[1];
  const auto product = [&](const Tensor& x) { return of_users() ? dots(x * weight, other) : dots(other * weight, x); };
  const auto of_common = product(c), of_scene = product(m);  // [A, K]
  const auto share = common_share(shared, other);
  return share * of_common + (1 - share) * of_scene;
}

}  // namespace polyscene::models
