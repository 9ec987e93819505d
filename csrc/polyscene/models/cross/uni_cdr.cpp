#include "polyscene/models/cross/uni_cdr.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "polyscene/models/embedding_l2.h"
#include "polyscene/models/pair_model.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/gemm.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/losses.h"
#include "polyscene/nn/reorder.h"
#include "polyscene/nn/row_products.h"

namespace polyscene::models {

using torch::Tensor;

// Contexts of one kind, of n users.
struct UniCDRImpl::Read {
  bool own;
  UserContexts::Context context;  // [n, L]
  Tensor scene;                   // int64 [n], whose map: 0 for the shared one
  Tensor id;                      // [n, D], 0 for users without rows
  Tensor here;                    // [n, 1], 1 for users with rows
  Tensor vectors;                 // [n, L, D]
  Tensor logits;                  // [n, L], of "mean" and "attention"
  Tensor prior;                   // [n, L, L], of "similarity"
};

namespace {

// Softmax over the last axis of what is there; all 0 where nothing is.
Tensor attention_shares(const Tensor& logits, const Tensor& there) {
  const auto hidden = logits.masked_fill(there.logical_not(), -std::numeric_limits<double>::infinity());
  const auto guarded = hidden.masked_fill(there.any(-1, /*keepdim=*/true).logical_not(), 0);
  return torch::softmax(guarded, -1) * there.to(logits.scalar_type());
}

// Predictions from `floor` on, over their sum.
Tensor prior_logits(const Tensor& predicted, double floor) {
  const auto kept = predicted.masked_fill(predicted.lt(floor), 0);
  return kept / kept.sum(-1, /*keepdim=*/true).clamp_min(1e-12);
}

// Rows [n, ..., D] times the matrix (transposed) of their scene, weight [S, D', D].
Tensor mapped(const Tensor& rows, const Tensor& scene, const Tensor& weight) {
  if (weight.size(0) == 1) return torch::matmul(rows, weight[0].t());
  const auto order = nn::order_by(scene, weight.size(0), "scenes", "batch row");
  const auto sorted = order.sort(rows);
  std::vector<Tensor> parts;
  for (int64_t s = 0; s < weight.size(0); ++s) {
    const auto first = order.groups.offsets[s], next = order.groups.offsets[s + 1];
    if (next > first) parts.push_back(torch::matmul(sorted.slice(0, first, next), weight[s].t()));
  }
  return parts.empty() ? rows : order.unsort(torch::cat(parts));
}

}  // namespace

UniCDRImpl::UniCDRImpl(std::shared_ptr<const data::Schema> schema, UniCDROptions options_)
    : RankingModel(std::move(schema), options_.common, "UniCDR"), options(std::move(options_)) {
  const auto& how = options.aggregator();
  TORCH_CHECK_VALUE(how == "mean" || how == "attention" || how == "similarity",
                    "UniCDR: aggregator must be 'mean', 'attention' or 'similarity', got '", how, "'");
  TORCH_CHECK_VALUE(options.max_length() > 0, "UniCDR: max_length must be positive, got ", options.max_length());
  TORCH_CHECK_VALUE(options.scored_length() > 0, "UniCDR: scored_length must be positive, got ",
                    options.scored_length());
  TORCH_CHECK_VALUE(options.mask() >= 0 && options.mask() < 1, "UniCDR: mask must lie in [0, 1), got ", options.mask());
  TORCH_CHECK_VALUE(options.id_share() >= 0 && options.id_share() <= 1, "UniCDR: id_share must lie in [0, 1], got ",
                    options.id_share());
  TORCH_CHECK_VALUE(options.contrast() >= 0 && options.contrast() < 1, "UniCDR: contrast must lie in [0, 1), got ",
                    options.contrast());
  TORCH_CHECK_VALUE(options.warm_up() >= 0, "UniCDR: warm_up must be 0 or more, got ", options.warm_up());
  nn::check_dropout("UniCDR", options.dropout());
  TORCH_CHECK_VALUE(options.prior_l2() > 0, "UniCDR: prior_l2 must be positive, got ", options.prior_l2());
  TORCH_CHECK_VALUE(options.prior_floor() >= 0, "UniCDR: prior_floor must be 0 or more, got ", options.prior_floor());
  TORCH_CHECK_VALUE(options.init_std() > 0, "UniCDR: init_std must be positive, got ", options.init_std());
  const auto dim = common.dim(), slots = scenes();
  user = register_module("user", scene_tables(slots, users(), dim, options.init_std()));
  shared = register_module("shared", normal_table(users(), dim, options.init_std()));
  item = register_module("item", scene_tables(slots, items(), dim, options.init_std()));
  const auto drawn = [&](const char* name, torch::IntArrayRef shape, int64_t fan) {
    const auto bound = 1 / std::sqrt(static_cast<double>(fan));
    return register_parameter(name, torch::empty(shape).uniform_(-bound, bound));
  };
  specific_map = drawn("specific_map", {slots, dim, dim}, dim);
  shared_map = drawn("shared_map", {1, dim, dim}, dim);
  if (how == "attention") {
    specific_attention = drawn("specific_attention", {slots, dim, dim}, dim);
    specific_attention_bias = drawn("specific_attention_bias", {slots, dim}, dim);
    shared_attention = drawn("shared_attention", {1, dim, dim}, dim);
    shared_attention_bias = drawn("shared_attention_bias", {1, dim}, dim);
  }
  if (options.contrast() > 0) {
    critic = drawn("critic", {slots, dim, dim}, dim);
    critic_bias = drawn("critic_bias", {slots}, dim);
  }
  joined = register_buffer("joined", torch::full({}, options.warm_up() == 0 ? 1 : 0, torch::kInt64));
}

std::vector<Phase> UniCDRImpl::phases() const {
  Phase alone, all;
  alone.name = "specific";
  alone.frozen = {"shared", "critic"};
  alone.epochs = options.warm_up();
  alone.patience = 0;
  alone.of_known = true;
  return options.warm_up() > 0 ? std::vector<Phase>{alone, all} : std::vector<Phase>{all};
}

void UniCDRImpl::begin_phase(const Phase& phase) {
  const torch::NoGradGuard no_grad;
  joined.fill_(phase.name == "specific" ? 0 : 1);
}

void UniCDRImpl::look_around() {
  const auto known = history() ? history()->interactions() : nullptr;
  if (made_ && known == known_) return;
  made_ = true;
  known_ = known;
  contexts_ = known ? UserContexts(*known) : UserContexts(scenes(), users(), items());
  prior_ = known && options.aggregator() == "similarity" ? ItemPrior(*known, options.prior_l2()) : ItemPrior();
}

UniCDRImpl::Read UniCDRImpl::read(bool own, const Tensor& rows, const Tensor& scene, const Tensor& left_out) {
  Read out;
  out.own = own;
  const auto count = contexts_.counts(rows);  // [n, S]
  const auto here = torch::arange(scenes(), torch::kInt64).unsqueeze(0).eq(scene.unsqueeze(1));
  const auto wanted = own ? here : here.logical_not();
  out.context = is_training() ? contexts_.sample(rows, wanted, left_out, options.max_length(), options.mask())
                              : contexts_.evenly(rows, wanted, left_out, options.scored_length());
  // A vector without training rows stays at its start: it says nothing. Before `prepare` all are taken at their word.
  const auto met = own ? count.gather(1, scene.unsqueeze(1)) : count.sum(1, /*keepdim=*/true);
  const auto speaks = known_ ? met.gt(0) : torch::ones_like(met, torch::kBool);
  out.here = speaks.to(item->weight.scalar_type());
  const auto asked = rows * speaks.squeeze(1);
  out.scene = own ? scene : torch::zeros_like(scene);
  out.id = (own ? user->forward(rows_in(scene, asked, users())) : shared->forward(asked)) * out.here;
  const auto& place = out.context.place;
  out.vectors = item->forward(place.flatten()).view({place.size(0), place.size(1), common.dim()});
  if (options.aggregator() == "attention") {
    const auto bias = (own ? specific_attention_bias : shared_attention_bias).index_select(0, out.scene).unsqueeze(1);
    const auto key = torch::tanh(mapped(out.vectors, out.scene, own ? specific_attention : shared_attention) + bias);
    out.logits = torch::matmul(key, out.id.unsqueeze(2)).squeeze(2);
  } else if (options.aggregator() == "similarity") {
    out.prior = prior_.between(place, out.context.there).to(out.vectors.scalar_type());
    out.logits = prior_logits(out.prior.sum(1), options.prior_floor());
  } else {
    out.logits = torch::zeros(place.sizes(), out.vectors.options().requires_grad(false));
  }
  return out;
}

Tensor UniCDRImpl::part(const Read& read, const Tensor& weighed) const {
  const auto told = mapped(weighed, read.scene, read.own ? specific_map : shared_map) * read.here;
  return options.id_share() * read.id + (1 - options.id_share()) * told;
}

Tensor UniCDRImpl::part(const Read& read) const {
  const auto weight = attention_shares(read.logits, read.context.there).unsqueeze(1);  // [n, 1, L]
  return nn::drop(part(read, torch::matmul(weight, read.vectors).squeeze(1)), options.dropout(), is_training());
}

Tensor UniCDRImpl::items_of(const Tensor& rows, const Tensor& scene) {
  return item->forward(rows_in(scene, rows, items()));
}

Tensor UniCDRImpl::pair_scores(const Tensor& rows, const Tensor& others, const Tensor& scene) {
  look_around();
  auto of_user = part(read(true, rows, scene, contexts_.find(rows, others, scene)));
  if (joint()) of_user = of_user + part(read(false, rows, scene, {}));
  const auto of_item = nn::drop(items_of(others, scene), options.dropout(), is_training());
  if (nn::heard()) nn::tell_output(*this, torch::cat({of_user, of_item}, 1));
  return (of_user * of_item).sum(1);
}

Tensor UniCDRImpl::contrasted(const Tensor& specific, const Tensor& shared, const data::Batch& batch) const {
  const auto n = batch.size();
  auto next = torch::empty({n}, torch::kInt64);
  for (int64_t s = 0; s < scenes(); ++s) {
    const auto rows = batch.scene.eq(s).nonzero().squeeze(1);
    next.index_copy_(0, rows, rows.roll(-1));
  }
  const auto of_users = mapped(shared, batch.scene, critic);  // M_s shared
  const auto bias = critic_bias.index_select(0, batch.scene);
  const auto own = (specific * of_users).sum(1) + bias;
  const auto other = (specific.index_select(0, next) * of_users).sum(1) + bias;
  const auto strange = batch.user.index_select(0, next).ne(batch.user).to(own.scalar_type());
  return torch::softplus(-own) + strange * torch::softplus(other);
}

RankingModel::Scored UniCDRImpl::score_batch(const data::Batch& batch) {
  look_around();
  const auto each = 1 + batch.negative.size(1);
  const auto own = read(true, batch.user, batch.scene, contexts_.find(batch.user, batch.item, batch.scene));
  auto of_user = part(own);
  contrast_.reset();
  std::vector<Tensor> looked_up = {own.id};
  if (joint()) {
    const auto elsewhere = read(false, batch.user, batch.scene, {});
    const auto of_scenes = part(elsewhere);
    if (critic.defined()) contrast_ = contrasted(of_user, of_scenes, batch);
    of_user = of_user + of_scenes;
    looked_up.push_back(elsewhere.id);
  }
  const auto all = torch::cat({batch.item.unsqueeze(1), batch.negative}, 1).flatten();
  looked_up.push_back(items_of(all, batch.scene.repeat_interleave(each)));
  const auto q = nn::drop(looked_up.back(), options.dropout(), is_training());
  const auto scores = nn::row_products(of_user, q, each);  // [B, 1 + N]
  return {scores.select(1, 0), scores.slice(1, 1), embedding_penalty(looked_up, common.embedding_l2(), batch.size())};
}

Tensor UniCDRImpl::loss(const data::Batch& batch) {
  if (!batch.negative.defined()) return RankingModel::loss(batch);  // says what is missing
  check(batch);
  auto scored = score_batch(batch);
  const auto weight = row_weight(batch), penalty = scored.penalty;
  scored.penalty.reset();
  // The row's item weighs as much as all drawn ones.
  auto out = common.loss() == "bce"
                 ? weighted_mean(torch::softplus(-scored.own) + torch::softplus(scored.drawn).mean(1), weight)
                 : loss_of(scored, weight);
  if (contrast_.defined()) {
    out = (1 - options.contrast()) * out + options.contrast() * weighted_mean(contrast_, weight);
    contrast_.reset();
  }
  return penalty.defined() ? out + penalty : out;
}

Tensor UniCDRImpl::score_items(const Tensor& users_, int64_t scene, const Tensor& items_) {
  const torch::NoGradGuard no_grad;
  look_around();
  if (users_.numel() == 0 || items_.numel() == 0) return torch::zeros({users_.numel(), items_.numel()});
  const auto q = items_of(items_, torch::full({items_.numel()}, scene, torch::kInt64));  // [C, D]
  auto seat = torch::full({items()}, -1, torch::kInt64).index_put_({items_}, torch::arange(items_.numel()));
  auto out = torch::empty({users_.numel(), items_.numel()}, q.options());
  const bool joint_now = joint();
  constexpr int64_t kBlock = 256;
  for (int64_t first = 0; first < users_.numel(); first += kBlock) {
    const auto rows = users_.slice(0, first, first + kBlock);
    const auto here = torch::full({rows.numel()}, scene, torch::kInt64);
    const auto own = read(true, rows, here, {});
    auto elsewhere = joint_now ? part(read(false, rows, here, {})) : torch::zeros_like(own.id);
    auto block = out.slice(0, first, first + kBlock);
    nn::product(block, part(own) + elsewhere, q.t(), /*add=*/false);
    // An item of the context is scored by the others: weights [n, L, L] without it.
    const auto& [place, there] = own.context;
    const auto at =
        seat.index_select(0, place.remainder(items()).flatten()).masked_fill(there.flatten().logical_not(), -1);
    const auto listed = at.ge(0).nonzero().squeeze(1);
    if (listed.numel() == 0) continue;
    const auto length = place.size(1);
    const auto others = torch::eye(length, torch::kBool).logical_not().unsqueeze(0).logical_and(there.unsqueeze(1));
    auto logits = own.logits.unsqueeze(1);
    if (own.prior.defined()) {
      const auto without = (own.prior.sum(1, /*keepdim=*/true) - own.prior).masked_fill(others.logical_not(), 0);
      logits = prior_logits(without, options.prior_floor());
    }
    const auto weighed =
        torch::matmul(attention_shares(logits.expand(others.sizes()), others), own.vectors);  // [n, L, D]
    const auto row = listed.floor_divide(length), column = at.index_select(0, listed);
    Read again = own;
    again.scene = here.index_select(0, row);
    again.id = own.id.index_select(0, row);
    again.here = own.here.index_select(0, row);
    const auto of_user = part(again, weighed.flatten(0, 1).index_select(0, listed)) + elsewhere.index_select(0, row);
    block.index_put_({row, column}, (of_user * q.index_select(0, column)).sum(1));
  }
  return out;
}

}  // namespace polyscene::models
