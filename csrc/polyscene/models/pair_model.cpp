#include "polyscene/models/pair_model.h"

#include <algorithm>

#include "polyscene/core/options.h"
#include "polyscene/models/embedding_l2.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/reorder.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

constexpr int64_t kPairs = 1 << 13;  // pairs whose hidden layers are held at once: they stay in the cache

std::vector<Tensor> lead(const std::vector<Tensor>& parts, int64_t users, int64_t each) {
  std::vector<Tensor> out;
  for (const auto& part : parts) {
    auto shape = part.sizes().vec();
    shape.insert(shape.begin() + 1, each);
    shape[0] = users;
    out.push_back(part.view(shape));
  }
  return out;
}

std::vector<Tensor> block(const std::vector<Tensor>& parts, int64_t dim, int64_t begin, int64_t count) {
  std::vector<Tensor> out;
  for (const auto& part : parts) out.push_back(part.narrow(dim, begin, count));
  return out;
}

nn::SceneGroups repeated(const nn::SceneGroups& groups, int64_t times) {
  auto out = groups;
  for (auto& offset : out.offsets) offset *= times;
  return out;
}

nn::SceneGroups only(int64_t scene, int64_t scenes, int64_t rows) {
  nn::SceneGroups out;
  out.offsets.assign(scenes + 1, 0);
  std::fill(out.offsets.begin() + scene + 1, out.offsets.end(), rows);
  return out;
}

}  // namespace

Tensor PairModel::grouped_scores(const Tensor& user, const Tensor& item, const Tensor& scene, Parts* looked_up) {
  const auto order = nn::order_by(scene, scenes(), "scenes", "batch row");
  const auto rows = user.numel(), each = item.size(1);
  const auto here = scene.index_select(0, order.order);
  const auto many = repeated(order.groups, each);
  const auto of_user =
      lead(user_parts(user.index_select(0, order.order), here, order.groups, looked_up), rows, /*each=*/1);
  const auto of_item =
      item_parts(item.index_select(0, order.order).flatten(), here.repeat_interleave(each), many, looked_up);
  std::vector<Tensor> items;
  for (const auto& part : of_item) {
    auto shape = part.sizes().vec();
    shape[0] = each;
    shape.insert(shape.begin(), rows);
    items.push_back(part.view(shape));
  }
  if (nn::heard()) {
    std::vector<Tensor> parts;
    for (const auto& part : of_user) parts.push_back(part.reshape({rows, -1}));
    for (const auto& part : items) parts.push_back(part.reshape({rows, -1}));
    nn::tell_output(*this, order.unsort(torch::cat(parts, 1)));
  }
  return order.unsort(combine(of_user, items, many));
}

Tensor PairModel::pair_scores(const Tensor& user, const Tensor& item, const Tensor& scene) {
  return grouped_scores(user, item.unsqueeze(1), scene, nullptr).squeeze(1);
}

RankingModel::Scored PairModel::score_batch(const data::Batch& batch) {
  Parts looked_up;
  auto* kept = common.embedding_l2() > 0 ? &looked_up : nullptr;
  const auto item = torch::cat({batch.item.unsqueeze(1), batch.negative}, 1);  // [B, 1 + N]
  const auto scores = grouped_scores(batch.user, item, batch.scene, kept);
  return {scores.select(1, 0), scores.slice(1, 1), embedding_penalty(looked_up, common.embedding_l2(), batch.size())};
}

Tensor PairModel::score_items(const Tensor& users, int64_t scene, const Tensor& items) {
  const auto count = users.numel(), n = items.numel();
  const auto of = [&](int64_t size) { return torch::full({size}, scene, torch::kInt64); };
  const auto user = lead(user_parts(users, of(count), only(scene, scenes(), count), nullptr), count, 1);
  const auto flat = item_parts(items, of(n), only(scene, scenes(), n), nullptr);
  std::vector<Tensor> item;
  for (const auto& part : flat) item.push_back(part.unsqueeze(0));
  if (count == 0 || n == 0) return torch::zeros({count, n});
  const auto wide = std::min(n, kPairs), high = std::max<int64_t>(1, kPairs / wide);
  Tensor out;
  for (int64_t u = 0; u < count; u += high) {
    const auto rows = std::min(high, count - u);
    const auto mine = block(user, 0, u, rows);
    for (int64_t i = 0; i < n; i += wide) {
      const auto columns = std::min(wide, n - i);
      const auto scores = combine(mine, block(item, 1, i, columns), only(scene, scenes(), rows * columns));
      if (!out.defined()) out = torch::empty({count, n}, scores.options().requires_grad(false));
      out.narrow(0, u, rows).narrow(1, i, columns).copy_(scores.detach());
    }
  }
  return out;
}

namespace {

Tensor half(const nn::SceneMLP& tower, const Tensor& x, int64_t first, const nn::SceneGroups& groups) {
  const auto layer = tower->first(groups);
  return nn::scene_linear(x.unsqueeze(1), layer.weight.narrow(3, first, x.size(1)), {}, groups).squeeze(1);
}

}  // namespace

nn::SceneMLP pair_tower(const char* owner, int64_t input, const std::vector<int64_t>& hidden, double dropout,
                        int64_t scenes, int64_t experts) {
  nn::check_dropout(owner, dropout);
  TORCH_CHECK_VALUE(!hidden.empty() && std::all_of(hidden.begin(), hidden.end(), [](int64_t n) { return n > 0; }),
                    owner, ": hidden must name at least one layer, widths above 0, got ", to_text(hidden));
  return nn::SceneMLP(input, nn::MLPOptions().hidden(hidden).output(1).dropout(dropout), scenes, experts);
}

Tensor leading_half(const nn::SceneMLP& tower, const Tensor& x, const nn::SceneGroups& groups) {
  return half(tower, x, 0, groups);
}

Tensor trailing_half(const nn::SceneMLP& tower, const Tensor& y, const nn::SceneGroups& groups) {
  return half(tower, y, tower->input_size - y.size(1), groups);
}

Tensor tower_scores(nn::SceneMLP& tower, const Tensor& x, const Tensor& y, const nn::SceneGroups& groups) {
  const auto z = x + y;  // [A, K, H]
  return tower->after_first(z.view({-1, z.size(2)}), groups).view({z.size(0), z.size(1)});
}

Tensor dots(const Tensor& x, const Tensor& y) {
  if (y.size(0) == 1) return torch::mm(x.squeeze(1), y[0].t());
  return torch::matmul(y, x.transpose(1, 2)).squeeze(2);
}

Tensor presence_of(const Tensor& present, const Tensor& id) { return present.to(torch::kBool).index_select(1, id).t(); }

}  // namespace polyscene::models
