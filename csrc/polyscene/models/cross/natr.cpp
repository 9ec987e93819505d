#include "polyscene/models/cross/natr.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "polyscene/models/embedding_l2.h"
#include "polyscene/models/pair_model.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/lookup.h"
#include "polyscene/nn/row_products.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {

using torch::Tensor;

NATRImpl::NATRImpl(std::shared_ptr<const data::Schema> schema, NATROptions options_)
    : RankingModel(std::move(schema), options_.common, "NATR"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(of_items() || options.shared() == "users", "NATR: shared must be 'items' or 'users', got '",
                    options.shared(), "'");
  TORCH_CHECK_VALUE(options.length() > 0, "NATR: length must be positive, got ", options.length());
  TORCH_CHECK_VALUE(options.weight_l2() >= 0, "NATR: weight_l2 must be 0 or more, got ", options.weight_l2());
  TORCH_CHECK_VALUE(options.source_epochs() >= 0, "NATR: source_epochs must be 0 or more, got ",
                    options.source_epochs());
  const auto dim = common.dim();
  source_user = register_module("source_user", scene_tables(scenes(), users(), dim));
  source_item = register_module("source_item", scene_tables(scenes(), items(), dim));
  user = register_module("user", scene_tables(scenes(), users(), dim));
  item = register_module("item", scene_tables(scenes(), items(), dim));
  const auto bound = 1 / std::sqrt(static_cast<double>(dim));
  const auto drawn = [&](const char* name, torch::IntArrayRef shape) {
    return register_parameter(name, torch::empty(shape).uniform_(-bound, bound));
  };
  transfer = drawn("transfer", {scenes(), dim, dim});
  transfer_bias = drawn("transfer_bias", {scenes(), dim});
  history_attention = drawn("history_attention", {scenes(), dim});
  fusion_attention = drawn("fusion_attention", {scenes(), dim});
  target = register_buffer("target", torch::ones({}, torch::kInt64));
}

std::vector<Phase> NATRImpl::phases() const {
  Phase source, transferred;
  source.name = "source";
  source.frozen = {"user", "item", "transfer", "transfer_bias", "history_attention", "fusion_attention"};
  source.epochs = options.source_epochs();
  source.of_known = true;
  transferred.name = "target";
  transferred.frozen = {"source_user", "source_item"};
  return {source, transferred};
}

void NATRImpl::begin_phase(const Phase& phase) {
  const torch::NoGradGuard no_grad;
  target.fill_(phase.name == "source" ? 0 : 1);
}

void NATRImpl::look_around() {
  const auto known = history() ? history()->interactions() : nullptr;
  if (known && known == known_) return;
  known_ = known;
  if (!known) {
    lists_ = SceneLists(scenes(), of_items() ? users() : items());
    in_ = torch::zeros({scenes(), of_items() ? items() : users()}, torch::kBool);
    return;
  }
  in_ = of_items() ? present_items(*known) : present_users(*known);
  const auto overlaps = in_.sum(0).gt(1).expand(in_.sizes());
  lists_ = SceneLists(*known, /*of_items=*/!of_items(), overlaps);
}

NATRImpl::Read NATRImpl::read(const Tensor& id, const Tensor& scene, std::vector<Tensor>* looked_up) {
  look_around();
  Read out;
  const auto n = id.numel(), length = options.length(), slots = scenes(), dim = common.dim();
  auto& mine = of_items() ? user : item;
  out.factors = mine->forward(rows_in(scene, id, of_items() ? users() : items()));
  if (of_items()) out.factors = out.factors * known_there(id, scene).unsqueeze(1).to(out.factors.scalar_type());
  if (looked_up) looked_up->push_back(out.factors);
  std::tie(out.ids, out.there) = lists_.padded(id, scene, length);
  // H follows from scene and entry: made once for each of them, not for each history.
  const auto entries = in_.size(1);
  auto at = (out.ids + scene.unsqueeze(1) * entries).flatten();
  Tensor wanted;
  if (at.numel() > 0 && at.numel() < slots * entries) {
    std::tie(wanted, at) = at::_unique(at, /*sorted=*/true, /*return_inverse=*/true);
  } else {
    wanted = torch::arange(slots * entries, torch::kInt64);
  }
  const auto h = carried(wanted);
  nn::FieldRows all;
  all.add("entry", h.size(0));
  const auto halves = torch::cat({h.relu(), (-h).relu()}, 1);  // [E, 2 D]
  out.halves = nn::lookup_flat(halves, at.unsqueeze(1), all, {});
  const auto weights = history_attention.index_select(0, scene);
  const auto asked = torch::cat({weights * out.factors.relu(), weights * (-out.factors).relu()}, 1);  // [n, 2 D]
  out.logits = nn::row_products(asked, out.halves, length);
  out.halves = out.halves.view({n, length, 2 * dim});
  return out;
}

Tensor NATRImpl::carried(const Tensor& wanted) {
  const auto& frozen = of_items() ? source_item->weight : source_user->weight;
  const auto entries = in_.size(1);
  const auto entry = wanted.remainder(entries), own = wanted.floor_divide(entries);
  auto sum = torch::zeros({wanted.numel(), common.dim()}, frozen.options());
  auto count = torch::zeros({wanted.numel(), 1}, frozen.options());
  for (int64_t t = 0; t < scenes(); ++t) {
    const auto here = in_[t].index_select(0, entry).logical_and(own.ne(t)).nonzero().squeeze(1);
    if (here.numel() == 0) continue;
    const auto found = frozen.detach().index_select(0, entry.index_select(0, here) + t * entries);
    sum.index_copy_(0, here, sum.index_select(0, here) + found);
    count.index_copy_(0, here, count.index_select(0, here) + 1);
  }
  const auto mean = sum / count.clamp_min(1);
  // They ascend, so that those of a scene lie together.
  const auto first = torch::searchsorted(wanted, torch::arange(scenes() + 1, torch::kInt64) * entries);
  std::vector<Tensor> out = {torch::zeros({0, common.dim()}, frozen.options())};
  for (int64_t s = 0; s < scenes(); ++s) {
    const auto begin = first[s].item<int64_t>(), end = first[s + 1].item<int64_t>();
    if (begin < end) out.push_back(nn::dense(mean.slice(0, begin, end), transfer[s], transfer_bias[s]));
  }
  return torch::cat(out);
}

namespace {

// Softmax over the last axis of what is there; all 0 where nothing is.
Tensor shares(const Tensor& logits, const Tensor& there) {
  const auto hidden = logits.masked_fill(there.logical_not(), -1e30);
  return torch::softmax(hidden, -1) * there.to(logits.scalar_type());
}

// x of its halves [relu(x), relu(-x)] along the last axis.
Tensor whole(const Tensor& halves) {
  const auto parts = halves.chunk(2, -1);
  return parts[0] - parts[1];
}

}  // namespace

Tensor NATRImpl::fused(const Read& read, const Tensor& other, const Tensor& y, const Tensor& scene) {
  // What is scored does not tell of itself.
  const auto there = read.there.unsqueeze(1).logical_and(read.ids.unsqueeze(1).ne(other.unsqueeze(2)));  // [n, K, L]
  const auto s = whole(torch::matmul(shares(read.logits.unsqueeze(1), there), read.halves));             // [n, K, D]
  const auto p = read.factors.unsqueeze(1);
  const auto w = fusion_attention.index_select(0, scene).unsqueeze(2);  // [n, D, 1]
  const auto gain = torch::matmul((s * y).relu() - (p * y).relu(), w).squeeze(2);
  const auto beta = torch::sigmoid(gain) * there.any(2).to(gain.scalar_type());  // [n, K]
  return beta * (s * y).sum(2) + (1 - beta) * (p * y).sum(2);
}

Tensor NATRImpl::pair_scores(const Tensor& rows, const Tensor& others, const Tensor& scene) {
  if (target.item<int64_t>() == 0) {
    const auto p = source_user->forward(rows_in(scene, rows, users()));
    const auto q = source_item->forward(rows_in(scene, others, items()));
    if (nn::heard()) nn::tell_output(*this, torch::cat({p, q}, 1));
    return (p * q).sum(1);
  }
  const auto& id = of_items() ? rows : others;
  const auto& other = of_items() ? others : rows;
  auto& theirs = of_items() ? item : user;
  auto y = theirs->forward(rows_in(scene, other, of_items() ? items() : users())).unsqueeze(1);  // [n, 1, D]
  if (!of_items()) y = y * known_there(other, scene).view({-1, 1, 1}).to(y.scalar_type());
  const auto own = read(id, scene, nullptr);
  if (nn::heard()) nn::tell_output(*this, torch::cat({own.factors, y.squeeze(1)}, 1));
  return fused(own, other.unsqueeze(1), y, scene).squeeze(1);
}

RankingModel::Scored NATRImpl::score_batch(const data::Batch& batch) {
  const auto each = 1 + batch.negative.size(1);
  const auto all = torch::cat({batch.item.unsqueeze(1), batch.negative}, 1);  // [B, 1 + N]
  const auto scene = batch.scene.repeat_interleave(each);
  std::vector<Tensor> looked_up;
  Tensor scores;
  if (target.item<int64_t>() == 0) {
    const auto p = source_user->forward(rows_in(batch.scene, batch.user, users()));
    const auto q = source_item->forward(rows_in(batch.scene.unsqueeze(1), all, items()));  // [B, 1 + N, D]
    looked_up = {p, q};
    scores = torch::matmul(q, p.unsqueeze(2)).squeeze(2);
  } else if (of_items()) {
    const auto q = item->forward(rows_in(batch.scene.unsqueeze(1), all, items()));
    scores = fused(read(batch.user, batch.scene, &looked_up), all, q, batch.scene);
    looked_up.push_back(q);
  } else {
    auto p = user->forward(rows_in(batch.scene, batch.user, users()));
    p = p * known_there(batch.user, batch.scene).unsqueeze(1).to(p.scalar_type());
    const auto each_user = p.repeat_interleave(each, 0).unsqueeze(1);
    const auto who = batch.user.repeat_interleave(each).unsqueeze(1);
    scores = fused(read(all.flatten(), scene, &looked_up), who, each_user, scene).view(all.sizes());
    looked_up.push_back(p);
  }
  auto penalty = embedding_penalty(looked_up, common.embedding_l2(), batch.size());
  if (options.weight_l2() > 0 && target.item<int64_t>() == 1) {
    auto squares = transfer.square().sum() + history_attention.square().sum() + fusion_attention.square().sum();
    squares = squares * (0.5 * options.weight_l2());
    penalty = penalty.defined() ? penalty + squares : squares;
  }
  return {scores.select(1, 0), scores.slice(1, 1), penalty};
}

Tensor NATRImpl::score_items(const Tensor& users_, int64_t scene, const Tensor& items_) {
  const auto of = [&](int64_t n) { return torch::full({n}, scene, torch::kInt64); };
  if (target.item<int64_t>() == 0) {
    return torch::mm(source_user->forward(rows_in(of(users_.numel()), users_, users())),
                     source_item->forward(rows_in(of(items_.numel()), items_, items())).t());
  }
  if (users_.numel() == 0 || items_.numel() == 0) return torch::zeros({users_.numel(), items_.numel()});
  const auto& ids = of_items() ? users_ : items_;
  // A user may be asked for twice.
  const auto [others, place] = at::_unique(of_items() ? items_ : users_, /*sorted=*/true, /*return_inverse=*/true);
  auto& theirs = of_items() ? item : user;
  const auto rows = of_items() ? items() : users();
  auto y = theirs->forward(rows_in(of(others.numel()), others, rows));  // [C, D]
  if (!of_items()) y = y * known_there(others, of(others.numel())).unsqueeze(1).to(y.scalar_type());
  const auto w = fusion_attention[scene];
  const auto up = y.relu(), down = (-y).relu();
  auto seat = torch::full({rows}, -1, torch::kInt64).index_put_({others}, torch::arange(others.numel()));
  constexpr int64_t kBlock = 512;
  std::vector<Tensor> blocks;
  for (int64_t first = 0; first < ids.numel(); first += kBlock) {
    const auto part = ids.slice(0, first, first + kBlock);
    const auto here = of(part.numel());
    const auto had = read(part, here, nullptr);
    const auto& p = had.factors;
    const auto s = whole(torch::matmul(shares(had.logits, had.there).unsqueeze(1), had.halves).squeeze(1));  // [n, D]
    const auto gain =
        torch::mm(w * (s.relu() - p.relu()), up.t()) + torch::mm(w * ((-s).relu() - (-p).relu()), down.t());
    const auto beta = torch::sigmoid(gain) * had.there.any(1, /*keepdim=*/true).to(gain.scalar_type());
    auto out = beta * torch::mm(s, y.t()) + (1 - beta) * torch::mm(p, y.t());  // [n, C]
    const auto at = seat.index_select(0, had.ids.flatten()).masked_fill(had.there.flatten().logical_not(), -1);
    const auto listed = at.ge(0).nonzero().squeeze(1);
    if (listed.numel() > 0) {
      const auto row = listed.floor_divide(options.length()), column = at.index_select(0, listed);
      // Longest a few dozen entries a row: read them again, a row of others each.
      const auto entries = had.ids;                                                     // [n, L]
      const auto vectors = theirs->forward(rows_in(here.unsqueeze(1), entries, rows));  // [n, L, D]
      const auto again = fused(had, entries, vectors, here).flatten().index_select(0, listed);
      out = out.index_put({row, column}, again);
    }
    blocks.push_back(out);
  }
  auto all = torch::cat(blocks).index_select(1, place);
  return of_items() ? all : all.t().contiguous();
}

Tensor NATRImpl::reasons(int64_t row, const Met& met, int64_t scene, const Tensor& items_) {
  const torch::NoGradGuard no_grad;
  TORCH_CHECK_VALUE(of_items(),
                    "NATR: with shared 'users' its attention is over users; nothing is known of a user's items");
  const auto count = items_.numel(), pairs = met.item.numel();
  auto out = torch::zeros({count, pairs});
  if (target.item<int64_t>() == 0 || row < data::kFirstId || count == 0) return out;
  const auto here = torch::full({1}, scene, torch::kInt64);
  const auto had = read(torch::tensor({row}, torch::kInt64), here, nullptr);
  const auto y = item->forward(rows_in(here, items_, items()));               // [C, D]
  const auto there = had.there.logical_and(had.ids.ne(items_.unsqueeze(1)));  // [C, L]
  const auto share = shares(had.logits.expand_as(there), there);
  const auto h = whole(had.halves[0]);  // [L, D]
  const auto s = torch::mm(share, h);
  const auto gain = torch::mv((s * y).relu() - (had.factors * y).relu(), fusion_attention[scene]);
  const auto beta = torch::sigmoid(gain) * there.any(1).to(gain.scalar_type());  // [C]
  const auto part = beta.unsqueeze(1) * share * torch::mm(y, h.t());             // [C, L]
  const auto* id = had.ids.const_data_ptr<int64_t>();
  const auto* is = had.there.const_data_ptr<bool>();
  const auto at = met.positions(0, scene);
  for (int64_t j = 0; j < at.numel(); ++j) {
    const auto place = at[j].item<int64_t>();
    const auto mine = met.item[place].item<int64_t>();
    for (int64_t l = 0; l < had.ids.size(1); ++l) {
      if (is[l] && id[l] == mine) out.select(1, place).add_(part.select(1, l));
    }
  }
  return out;
}

}  // namespace polyscene::models
