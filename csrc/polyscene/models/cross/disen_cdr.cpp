#include "polyscene/models/cross/disen_cdr.h"

#include <algorithm>
#include <cmath>

#include "polyscene/nn/dropout.h"

namespace polyscene::models {
using torch::Tensor;

DisenCDRImpl::DisenCDRImpl(std::shared_ptr<const data::Schema> schema, DisenCDROptions options_)
    : FactorModel(std::move(schema), options_.common, "DisenCDR"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.layers() > 0, "DisenCDR: layers must be positive, got ", options.layers());
  TORCH_CHECK_VALUE(options.beta() >= 0 && options.beta() <= 1, "DisenCDR: beta must lie in [0, 1], got ",
                    options.beta());
  TORCH_CHECK_VALUE(options.divergence() >= 0, "DisenCDR: divergence must be 0 or more, got ", options.divergence());
  TORCH_CHECK_VALUE(options.form() == "paper" || options.form() == "authors",
                    "DisenCDR: form must be 'paper' or 'authors', got '", options.form(), "'");
  TORCH_CHECK_VALUE(options.dropout() >= 0 && options.dropout() < 1, "DisenCDR: dropout must lie in [0, 1), got ",
                    options.dropout());
  TORCH_CHECK_VALUE(options.warm_up() >= 0, "DisenCDR: warm_up must be 0 or more, got ", options.warm_up());
  TORCH_CHECK_VALUE(options.init_std() > 0, "DisenCDR: init_std must be positive, got ", options.init_std());
  user = register_module("user", scene_tables(scenes(), users(), common.dim(), options.init_std()));
  shared = register_module("shared", scene_tables(scenes(), users(), common.dim(), options.init_std()));
  item = register_module("item", scene_tables(scenes(), items(), common.dim(), options.init_std()));
  const auto encoders = [&](const char* name) {
    return register_module(name,
                           variational_layers(scenes(), options.layers(), common.dim(), wide() ? 0 : kSmallSpread));
  };
  specific = encoders("specific");
  items_of = encoders("items_of");
  own = encoders("own");
  cross = encoders("cross");
  joined = register_buffer("joined", torch::full({}, options.warm_up() == 0 ? 1 : 0, torch::kInt64));
}

std::vector<Phase> DisenCDRImpl::phases() const {
  Phase alone, all;
  alone.name = "specific";
  alone.frozen = {"shared", "own", "cross"};
  alone.epochs = options.warm_up();
  alone.patience = 0;
  alone.of_known = true;
  return options.warm_up() > 0 ? std::vector<Phase>{alone, all} : std::vector<Phase>{all};
}

void DisenCDRImpl::begin_phase(const Phase& phase) {
  const torch::NoGradGuard no_grad;
  joined.fill_(phase.name == "specific" ? 0 : 1);
}

void DisenCDRImpl::make_graphs() {
  const auto known = history() ? history()->interactions() : nullptr;
  if (made_ && made_of_ == known) return;
  made_ = true;
  made_of_ = known;
  pairs_ = known ? static_cast<double>(known->pairs()) : 0;
  nodes_.clear();
  auto total = torch::zeros({users()}, torch::kInt64);
  if (known) {
    for (int64_t s = 0; s < scenes(); ++s) total += known->scene(s).user_offsets.diff();
  }
  const auto anywhere = total.gt(0).nonzero().squeeze(1);
  known_users_ = anywhere.numel();
  any_place_ = places_of(anywhere, users(), 0, known_users_);
  int64_t user_count = 0, item_count = 0;
  for (int64_t s = 0; known && s < scenes(); ++s) {
    user_count += known->scene(s).visitors.numel();
    item_count += known->scene(s).candidates.numel();
  }
  user_place_ = torch::full({scenes() * users()}, user_count, torch::kInt64);
  item_place_ = torch::full({scenes() * items()}, item_count, torch::kInt64);
  const auto graphs = known ? mean_graphs(*known) : std::vector<MeanGraph>();
  int64_t first_user = 0, first_item = 0;
  for (int64_t s = 0; known && s < scenes(); ++s) {
    const auto& pairs = known->scene(s);
    SceneNodes made{graphs[s], {}, {}};
    made.place = any_place_.index_select(0, made.users);
    made.weight =
        (pairs.user_offsets.diff().index_select(0, made.users).to(torch::kFloat32) / total.index_select(0, made.users))
            .unsqueeze(1);
    if (options.form() == "authors" && made.users.numel() > 0) {
      // The share of the last user with rows anywhere, for all.
      const auto last = anywhere[-1].item<int64_t>();
      made.weight.fill_(static_cast<double>(pairs.degree(last)) / total[last].item<double>());
    }
    user_place_.slice(0, s * users(), (s + 1) * users())
        .index_copy_(0, made.users, torch::arange(first_user, first_user + made.users.numel()));
    item_place_.slice(0, s * items(), (s + 1) * items())
        .index_copy_(0, made.items, torch::arange(first_item, first_item + made.items.numel()));
    first_user += made.users.numel();
    first_item += made.items.numel();
    nodes_.push_back(std::move(made));
  }
}

Gaussian DisenCDRImpl::encode_shared(const std::vector<Tensor>& tables) const {
  auto inputs = tables;
  std::vector<Tensor> mixed;
  for (int64_t k = 0; k < options.layers(); ++k) {
    const bool last = k + 1 == options.layers();
    mixed.assign(last ? 2 : 1, torch::zeros({known_users_, common.dim()}, tables[0].options()));
    for (int64_t s = 0; s < scenes(); ++s) {
      const auto& at = nodes_[s];
      auto& layer = *cross->ptr<VariationalGraphLayerImpl>(s * options.layers() + k);
      const auto out = layer.forward(at.to_items, at.to_users, nn::drop(inputs[s], options.dropout(), is_training()));
      for (size_t head = 0; head < mixed.size(); ++head) {
        mixed[head] = mixed[head].index_add(0, at.place, out[head] * at.weight.to(out[head].dtype()));
      }
    }
    for (int64_t s = 0; s < scenes(); ++s) inputs[s] = mixed[0].index_select(0, nodes_[s].place);
  }
  return {mixed[0], deviation_of(mixed[1], wide())};
}

Tensor DisenCDRImpl::draw(const Gaussian& q) const {
  if (!is_training()) return q.mean;
  return q.mean + torch::randn_like(q.mean) * (options.form() == "authors" ? q.deviation.exp() : q.deviation);
}

Tensor DisenCDRImpl::reduced(const Tensor& each) const {
  if (options.form() == "authors") return each.sum() / static_cast<double>(std::max<int64_t>(each.size(0), 1));
  return each.sum();
}

void DisenCDRImpl::begin_pass() {
  make_graphs();
  const auto none = torch::zeros({1, common.dim()}, user->weight.options());
  kl_ = torch::zeros({}, user->weight.options());
  specific_z_ = shared_z_ = item_z_ = none;
  if (nodes_.empty()) return;
  const bool divergences = is_training() || torch::GradMode::is_enabled(), joint = joined.item<int64_t>() == 1;
  const double prior = options.form() == "authors" ? std::exp(0.1 + 0.9 * std::log1p(std::exp(1.0))) : 1.0;
  const auto how = reading();
  std::vector<Tensor> users_z, items_z, tables;
  std::vector<Gaussian> own_q;
  for (int64_t s = 0; s < scenes(); ++s) {
    const auto& at = nodes_[s];
    const auto rows = at.users + s * users();
    const auto q = read_graph(*specific, s, how, at.to_items, at.to_users, user->forward(rows));
    const auto p = read_graph(*items_of, s, how, at.to_users, at.to_items, item->forward(at.items + s * items()));
    users_z.push_back(draw(q));
    items_z.push_back(draw(p));
    if (divergences) kl_ = kl_ + reduced(divergence(q, prior)) + reduced(divergence(p, prior));
    if (!joint) continue;
    tables.push_back(shared->forward(rows));
    if (divergences) own_q.push_back(read_graph(*own, s, how, at.to_items, at.to_users, tables.back()));
  }
  users_z.push_back(none);
  items_z.push_back(none);
  specific_z_ = torch::cat(users_z);
  item_z_ = torch::cat(items_z);
  shared_z_ = torch::zeros({known_users_ + 1, common.dim()}, none.options());
  if (!joint) return;
  const auto q = encode_shared(tables);
  shared_z_ = torch::cat({draw(q), none});
  if (!divergences) return;
  kl_ = kl_ + (1 - options.beta()) * reduced(divergence(q, prior));
  for (int64_t s = 0; s < scenes(); ++s) {
    const auto& place = nodes_[s].place;
    const Gaussian here{q.mean.index_select(0, place), q.deviation.index_select(0, place)};
    kl_ = kl_ + options.beta() * reduced(divergence(here, own_q[s]));
  }
}

RankingModel::Scored DisenCDRImpl::score_batch(const data::Batch& batch) {
  auto out = FactorModel::score_batch(batch);
  const double terms = options.form() == "authors" ? static_cast<double>(2 * scenes())
                                                   : pairs_ * static_cast<double>(1 + batch.negative.size(1));
  const auto weighted = kl_ * (options.divergence() / std::max(terms, 1.0));
  out.penalty = out.penalty.defined() ? out.penalty + weighted : weighted;
  return out;
}

Tensor DisenCDRImpl::user_vectors(const Tensor& rows, const Tensor& scene, std::vector<Tensor>* looked_up) {
  const auto at = scene * users() + rows;
  if (looked_up) looked_up->insert(looked_up->end(), {user->forward(at), shared->forward(at)});
  return shared_z_.index_select(0, any_place_.index_select(0, rows)) +
         specific_z_.index_select(0, user_place_.index_select(0, at));
}

Tensor DisenCDRImpl::item_vectors(const Tensor& rows, const Tensor& scene, std::vector<Tensor>* looked_up) {
  const auto at = scene * items() + rows;
  if (looked_up) looked_up->push_back(item->forward(at));
  return item_z_.index_select(0, item_place_.index_select(0, at));
}

}  // namespace polyscene::models
