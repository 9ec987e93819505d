#include "polyscene/models/cross/co_net.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "polyscene/nn/gemm.h"
#include "polyscene/nn/scene_linear.h"
#include "polyscene/nn/tower_links.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

constexpr int64_t kItems = 2048;  // whose hidden layers are held at once: they stay in the cache

// Mean of the other towers that take part, times `share`: x [..., S, I] is 0 where a tower does not.
Tensor others(const Tensor& x, const Tensor& share) { return (x.sum(-2, /*keepdim=*/true) - x) * share; }

}  // namespace

CoNetImpl::CoNetImpl(std::shared_ptr<const data::Schema> schema, CoNetOptions options_)
    : PairModel(std::move(schema), options_.common, "CoNet"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.cross_penalty() >= 0, "CoNet: cross_penalty must be 0 or more, got ",
                    options.cross_penalty());
  TORCH_CHECK_VALUE(options.cross_norm() == "frobenius" || options.cross_norm() == "l1",
                    "CoNet: cross_norm must be 'frobenius' or 'l1', got '", options.cross_norm(), "'");
  TORCH_CHECK_VALUE(options.foreign() == "drawn" || options.foreign() == "mean",
                    "CoNet: foreign must be 'drawn' or 'mean', got '", options.foreign(), "'");
  user = register_module("user", scene_tables(scenes(), users(), common.dim()));
  item = register_module("item", scene_tables(scenes(), items(), common.dim()));
  tower = register_module("tower", pair_tower("CoNet", 2 * common.dim(), options.hidden(), 0, 1, scenes()));
  auto width = 2 * common.dim();
  for (size_t l = 0; l < options.hidden().size(); ++l) {
    const auto next = options.hidden()[l];
    auto start = torch::empty({next, width}).normal_(0, std::sqrt(2.0 / static_cast<double>(next + width)));
    cross.push_back(register_parameter("cross" + std::to_string(l), start));
    width = next;
  }
}

const SceneLists& CoNetImpl::lists() {
  const auto known = history() ? history()->interactions() : nullptr;
  if (known != lists_of_ || !known) lists_ = known ? SceneLists(*known) : SceneLists(scenes(), users());
  lists_of_ = known;
  return lists_;
}

PairModel::Parts CoNetImpl::user_parts(const Tensor& rows, const Tensor& scene, const nn::SceneGroups&,
                                       Parts* looked_up) {
  const auto n = rows.numel(), slots = scenes(), dim = common.dim();
  const auto& behaviour = lists();
  const auto slot = torch::arange(slots, torch::kInt64).unsqueeze(0);  // [1, S]
  const auto own = slot.eq(scene.unsqueeze(1));                        // [n, S]
  const auto present = behaviour.counts(rows).gt(0);
  auto foreign = present.logical_and(own.logical_not());
  if (!is_training() && !options.predict_crossed()) foreign = torch::zeros_like(foreign);
  const auto wanted = own.logical_and(present).logical_or(foreign);

  const auto none = torch::zeros({}, torch::kInt64);
  const auto u = user->forward(rows_in(slot, torch::where(wanted, rows.unsqueeze(1), none), users()));
  const auto type = u.scalar_type();
  const auto taste = u * wanted.unsqueeze(2).to(type);  // [n, S, D]
  Tensor met;                                           // [n, S, D]
  if (is_training() && options.foreign() == "drawn") {
    const auto drawn = torch::where(foreign, behaviour.drawn(rows), none);
    met = item->forward(rows_in(slot, drawn, items())) * foreign.unsqueeze(2).to(type);
  } else {
    const auto [codes, begins] = behaviour.all(rows, foreign);
    const auto counts = (behaviour.counts(rows) * foreign).flatten();
    const auto offset = torch::repeat_interleave((slot * items()).expand({n, slots}).reshape(-1), counts);
    met = std::get<0>(torch::embedding_bag(item->weight, codes + offset, begins, /*scale_grad_by_freq=*/false,
                                           /*mode=*/1, item->options.sparse()))
              .view({n, slots, dim});
  }
  if (looked_up) looked_up->insert(looked_up->end(), {taste, met});

  const auto input = torch::cat({taste, met}, 2);                          // [n, S, 2 D], the own item's half is 0
  const auto taking_part = own.logical_or(foreign).to(type).unsqueeze(2);  // [n, S, 1]
  const auto share = taking_part / (taking_part.sum(1, /*keepdim=*/true) - 1).clamp_min(1);  // [n, S, 1]
  const auto all = nn::SceneGroups::all(n);
  const auto made = nn::scene_linear(input, tower->weight[0], tower->bias[0], all);
  const auto crossed = nn::dense(others(input, share).view({n * slots, 2 * dim}), cross[0]).view(made.sizes());
  return {made + crossed, own.to(type).unsqueeze(2), share, taking_part};
}

PairModel::Parts CoNetImpl::item_parts(const Tensor& rows, const Tensor& scene, const nn::SceneGroups& groups,
                                       Parts* looked_up) {
  const auto v = item->forward(rows_in(scene, rows, items()));  // [n, D]
  if (looked_up) looked_up->push_back(v);
  const auto dim = common.dim();
  const auto mine = tower->weight[0].transpose(0, 1).narrow(3, dim, dim);  // [S, 1, H, D]
  const auto linked = scenes() > 1 ? nn::dense(v, cross[0].narrow(1, dim, dim)) : torch::Tensor();
  const auto own = nn::scene_linear(v.unsqueeze(1), mine, {}, groups);  // [n, 1, H]
  return linked.defined() ? Parts{own, linked.unsqueeze(1)} : Parts{own};
}

Tensor CoNetImpl::combine(const Parts& user, const Parts& item, const nn::SceneGroups& groups) {
  const auto base = user[0].squeeze(1);                                                               // [A, S, H]
  const auto own = user[1].flatten(1), share = user[2].flatten(1), taking_part = user[3].flatten(1);  // [A, S]
  const auto rows = base.size(0), each = item[0].size(1), slots = base.size(1);
  const auto of_pairs = [&](const Tensor& part) {
    return part.expand({rows, each, 1, part.size(3)}).reshape({rows * each, part.size(3)});
  };
  const auto x = of_pairs(item[0]);
  auto z = nn::linked_input(base, own, share * (1 - own), x, item.size() > 1 ? of_pairs(item[1]) : x);  // [A K, S, H]
  const auto all = nn::SceneGroups::all(rows * each);
  for (size_t l = 1;; ++l) {
    const auto a = nn::linked(z, taking_part, share);  // [A K, S, 2 H]
    if (l == cross.size()) {
      const auto mine = a.narrow(2, 0, z.size(2)) * own.repeat_interleave(each, 0).unsqueeze(2);
      const auto last = mine.sum(1, /*keepdim=*/true);  // [A K, 1, H]
      return nn::scene_linear(last, tower->weight[l].transpose(0, 1), tower->bias[l].transpose(0, 1), groups)
          .view({rows, each});
    }
    // One product: the tower's matrix beside the one that all of them share.
    const auto link = cross[l].expand({1, slots, cross[l].size(0), cross[l].size(1)});
    z = nn::scene_linear(a, torch::cat({tower->weight[l], link}, 3), tower->bias[l], all);
  }
}

// What a ranking of a scene's items is made of.
struct CoNetImpl::Ranking {
  int64_t scene;
  Tensor base;                               // first layer of each user in each tower, without the items, [U, S, H]
  Tensor own, linked;                        // what items add in their own tower, and in the others, [C, H]
  std::vector<std::vector<int64_t>> towers;  // that take part for each user, the scene's first
};

void CoNetImpl::rank(const Ranking& given, int64_t user, const Tensor& out) const {
  const auto& towers = given.towers[user];
  const auto count = towers.size(), layers = cross.size();
  const double share = count > 1 ? 1.0 / static_cast<double>(count - 1) : 0;
  const auto matrix = [&](size_t l, int64_t t) { return tower->weight[l][0][t].t(); };
  for (int64_t first = 0; first < out.numel(); first += kItems) {
    const auto n = std::min(kItems, out.numel() - first);
    std::vector<Tensor> a;
    for (const auto t : towers) {
      const auto base = given.base[user][t].unsqueeze(0);
      a.push_back(t == given.scene ? base + given.own.narrow(0, first, n)
                                   : at::add(base, given.linked.narrow(0, first, n), share));
      a.back().relu_();
    }
    for (size_t l = 1; l < layers; ++l) {
      const auto wanted = l + 1 < layers ? count : 1;  // the last layer is read in the scene's tower alone
      Tensor sum;
      for (size_t e = 0; count > 2 && e < count; ++e) sum = sum.defined() ? sum + a[e] : a[e];
      std::vector<Tensor> next;
      for (size_t e = 0; e < wanted; ++e) {
        next.push_back(torch::empty({n, cross[l].size(0)}, a[e].options()));
        nn::product(next[e], a[e], matrix(l, towers[e]), /*add=*/false, tower->bias[l][0][towers[e]]);
        if (count > 1) nn::product(next[e], count == 2 ? a[1 - e] : (sum - a[e]) * share, cross[l].t(), /*add=*/true);
        next[e].relu_();
      }
      a = std::move(next);
    }
    out.narrow(0, first, n)
        .copy_(torch::addmv(tower->bias[layers][0][given.scene], a[0], tower->weight[layers][0][given.scene][0]));
  }
}

Tensor CoNetImpl::score_items(const Tensor& users, int64_t scene, const Tensor& items) {
  // Without gradients each user's towers are only those that take part, and their layers stay in the cache.
  if (is_training() || torch::GradMode::is_enabled()) return PairModel::score_items(users, scene, items);
  const auto count = users.numel(), n = items.numel();
  nn::SceneGroups groups;
  groups.offsets.assign(scenes() + 1, 0);
  std::fill(groups.offsets.begin() + scene + 1, groups.offsets.end(), n);
  const auto user = user_parts(users, torch::full({count}, scene, torch::kInt64), groups, nullptr);
  const auto item = item_parts(items, torch::full({n}, scene, torch::kInt64), groups, nullptr);
  Ranking given{scene, user[0], item[0].squeeze(1), item.size() > 1 ? item[1].squeeze(1) : Tensor(), {}};
  const auto part = user[3].squeeze(2).gt(0);  // [U, S]
  for (int64_t u = 0; u < count; ++u) {
    given.towers.push_back({scene});
    for (int64_t t = 0; t < scenes(); ++t) {
      if (t != scene && part.const_data_ptr<bool>()[u * scenes() + t]) given.towers.back().push_back(t);
    }
  }
  const auto out = torch::empty({count, n}, given.base.options());
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const torch::NoGradGuard no_grad;
    for (auto u = begin; u < end; ++u) rank(given, u, out[u]);
  });
  return out;
}

RankingModel::Scored CoNetImpl::score_batch(const data::Batch& batch) {
  auto out = PairModel::score_batch(batch);
  if (options.cross_penalty() == 0) return out;
  Tensor sum;
  for (const auto& h : cross) {
    const auto norm = options.cross_norm() == "l1" ? h.abs().sum() : h.norm();
    sum = sum.defined() ? sum + norm : norm;
  }
  sum = sum * options.cross_penalty();
  out.penalty = out.penalty.defined() ? out.penalty + sum : sum;
  return out;
}

}  // namespace polyscene::models
