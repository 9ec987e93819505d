#include "polyscene/models/cross/co_net.h"

#include <cmath>

#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

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
  const auto crossed = nn::dense(others(input, share).view({n * slots, -1}), cross[0]).view(made.sizes());
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
  const auto &own = user[1], &share = user[2], &taking_part = user[3];  // [A, 1, S, 1]
  auto z = user[0] + own * item[0];                                     // [A, K, S, H]
  if (item.size() > 1) z = z + share * (1 - own) * item[1];
  const auto rows = z.size(0), each = z.size(1), slots = z.size(2);
  const auto all = nn::SceneGroups::all(rows * each);
  for (size_t l = 1;; ++l) {
    const auto a = z.relu() * taking_part;
    if (l == cross.size()) {
      const auto last = (a * own).sum(2).view({rows * each, 1, -1});  // [A K, 1, H]
      return nn::scene_linear(last, tower->weight[l].transpose(0, 1), tower->bias[l].transpose(0, 1), groups)
          .view({rows, each});
    }
    const auto flat = a.view({rows * each, slots, -1});
    z = nn::scene_linear(flat, tower->weight[l], tower->bias[l], all).view({rows, each, slots, -1});
    if (slots == 1) continue;
    const auto linked = others(a, share).view({rows * each * slots, -1});
    z = z + nn::dense(linked, cross[l]).view(z.sizes());
  }
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
