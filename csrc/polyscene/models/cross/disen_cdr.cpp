#include "polyscene/models/cross/disen_cdr.h"

#include <algorithm>
#include <cmath>

#include "polyscene/nn/dropout.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

// Mean over neighbours: rows `mine`, columns numbered by `place`.
std::shared_ptr<const nn::SparseMatrix> means(const Tensor& offsets, const Tensor& codes, const Tensor& mine,
                                              const Tensor& place, int64_t width) {
  const auto degree = offsets.diff().index_select(0, mine);
  auto at = torch::zeros({mine.numel() + 1}, torch::kInt64);
  at.slice(0, 1).copy_(degree.cumsum(0));
  // Ids without rows have no entries: the codes of the others follow each other as they are.
  return std::make_shared<nn::SparseMatrix>(at, place.index_select(0, codes.to(torch::kInt64)).to(torch::kInt32),
                                            (1 / degree.to(torch::kFloat32)).repeat_interleave(degree), width);
}

Tensor places(const Tensor& ids, int64_t count, int64_t first, int64_t none) {
  return torch::full({count}, none, torch::kInt64).index_copy_(0, ids, torch::arange(first, first + ids.numel()));
}

}  // namespace

VariationalGraphLayerImpl::VariationalGraphLayerImpl(int64_t dim, bool last) : last_(last) {
  there_ = register_module("there", torch::nn::Linear(dim, dim));
  for (const auto* head : last ? std::vector<const char*>{"mean", "spread"} : std::vector<const char*>{"hidden"}) {
    back_.push_back(register_module(c10::str("back_", head), torch::nn::Linear(dim, dim)));
    join_.push_back(register_module(c10::str("join_", head), torch::nn::Linear(2 * dim, dim)));
  }
}

std::vector<Tensor> VariationalGraphLayerImpl::forward(const std::shared_ptr<const nn::SparseMatrix>& there,
                                                       const std::shared_ptr<const nn::SparseMatrix>& back,
                                                       const Tensor& x) {
  const auto other = torch::leaky_relu(there_->forward(nn::sparse_product(there, x)), 0.1);  // [other, D]
  const auto gathered = nn::sparse_product(back, other);                                     // [n, D]
  std::vector<Tensor> out;
  for (size_t head = 0; head < back_.size(); ++head) {
    const auto g = torch::leaky_relu(back_[head]->forward(gathered), 0.1);
    const auto y = join_[head]->forward(torch::cat({g, x}, 1));
    out.push_back(last_ ? y : torch::relu(y));
  }
  return out;
}

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
  TORCH_CHECK_VALUE(options.init_std() > 0, "DisenCDR: init_std must be positive, got ", options.init_std());
  user = register_module("user", scene_tables(scenes(), users(), common.dim(), options.init_std()));
  shared = register_module("shared", scene_tables(scenes(), users(), common.dim(), options.init_std()));
  item = register_module("item", scene_tables(scenes(), items(), common.dim(), options.init_std()));
  const auto encoders = [&](const char* name) {
    auto out = register_module(name, torch::nn::ModuleList());
    for (int64_t s = 0; s < scenes(); ++s) {
      for (int64_t k = 0; k < options.layers(); ++k) {
        out->push_back(VariationalGraphLayer(common.dim(), k + 1 == options.layers()));
      }
    }
    return out;
  };
  specific = encoders("specific");
  items_of = encoders("items_of");
  own = encoders("own");
  cross = encoders("cross");
}

void DisenCDRImpl::make_graphs() {
  const auto known = history() ? history()->interactions() : nullptr;
  if (made_ && made_of_ == known) return;
  made_ = true;
  made_of_ = known;
  nodes_.clear();
  auto total = torch::zeros({users()}, torch::kInt64);
  if (known) {
    for (int64_t s = 0; s < scenes(); ++s) total += known->scene(s).user_offsets.diff();
  }
  const auto anywhere = total.gt(0).nonzero().squeeze(1);
  known_users_ = anywhere.numel();
  any_place_ = places(anywhere, users(), 0, known_users_);
  int64_t user_count = 0, item_count = 0;
  for (int64_t s = 0; known && s < scenes(); ++s) {
    user_count += known->scene(s).visitors.numel();
    item_count += known->scene(s).candidates.numel();
  }
  user_place_ = torch::full({scenes() * users()}, user_count, torch::kInt64);
  item_place_ = torch::full({scenes() * items()}, item_count, torch::kInt64);
  int64_t first_user = 0, first_item = 0;
  for (int64_t s = 0; known && s < scenes(); ++s) {
    const auto& pairs = known->scene(s);
    SceneNodes made;
    made.users = pairs.visitors;
    made.items = pairs.candidates;
    made.place = any_place_.index_select(0, made.users);
    made.weight =
        (pairs.user_offsets.diff().index_select(0, made.users).to(torch::kFloat32) / total.index_select(0, made.users))
            .unsqueeze(1);
    if (options.form() == "authors" && made.users.numel() > 0) {
      // The share of the last user with rows anywhere, for all.
      const auto last = anywhere[-1].item<int64_t>();
      made.weight.fill_(static_cast<double>(pairs.degree(last)) / total[last].item<double>());
    }
    made.to_items =
        means(pairs.item_offsets, pairs.users, made.items, places(made.users, users(), 0, -1), made.users.numel());
    made.to_users =
        means(pairs.user_offsets, pairs.items, made.users, places(made.items, items(), 0, -1), made.items.numel());
    user_place_.slice(0, s * users(), (s + 1) * users())
        .index_copy_(0, made.users, torch::arange(first_user, first_user + made.users.numel()));
    item_place_.slice(0, s * items(), (s + 1) * items())
        .index_copy_(0, made.items, torch::arange(first_item, first_item + made.items.numel()));
    first_user += made.users.numel();
    first_item += made.items.numel();
    nodes_.push_back(std::move(made));
  }
}

DisenCDRImpl::Gauss DisenCDRImpl::encode_side(torch::nn::ModuleList& layers, int64_t scene, const Matrix& there,
                                              const Matrix& back, Tensor x) const {
  std::vector<Tensor> out;
  for (int64_t k = 0; k < options.layers(); ++k) {
    auto& layer = *layers->ptr<VariationalGraphLayerImpl>(scene * options.layers() + k);
    out = layer.forward(there, back, nn::drop(x, options.dropout(), is_training()));
    x = out[0];
  }
  return {out[0], torch::exp(0.1 + 0.9 * torch::softplus(out[1]))};
}

DisenCDRImpl::Gauss DisenCDRImpl::encode_shared(const std::vector<Tensor>& tables) const {
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
  return {mixed[0], torch::exp(0.1 + 0.9 * torch::softplus(mixed[1]))};
}

Tensor DisenCDRImpl::draw(const Gauss& q) const {
  if (!is_training()) return q.mean;
  return q.mean + torch::randn_like(q.mean) * (options.form() == "authors" ? q.deviation.exp() : q.deviation);
}

Tensor DisenCDRImpl::divergence(const Gauss& q) const {
  const double prior = options.form() == "authors" ? std::exp(0.1 + 0.9 * std::log1p(std::exp(1.0))) : 1.0;
  const auto each =
      std::log(prior) - q.deviation.log() + (q.deviation.square() + q.mean.square()) / (2 * prior * prior) - 0.5;
  return each.sum() / static_cast<double>(std::max<int64_t>(q.mean.size(0), 1));
}

void DisenCDRImpl::begin_pass() {
  make_graphs();
  const auto none = torch::zeros({1, common.dim()}, user->weight.options());
  kl_ = torch::zeros({}, user->weight.options());
  if (nodes_.empty()) {
    specific_z_ = shared_z_ = item_z_ = none;
    return;
  }
  const bool divergences = is_training() || torch::GradMode::is_enabled();
  std::vector<Tensor> users_z, items_z, tables;
  std::vector<Gauss> own_q;
  for (int64_t s = 0; s < scenes(); ++s) {
    const auto& at = nodes_[s];
    const auto rows = at.users + s * users();
    const auto q = encode_side(specific, s, at.to_items, at.to_users, user->forward(rows));
    const auto p = encode_side(items_of, s, at.to_users, at.to_items, item->forward(at.items + s * items()));
    users_z.push_back(draw(q));
    items_z.push_back(draw(p));
    tables.push_back(shared->forward(rows));
    if (!divergences) continue;
    kl_ = kl_ + divergence(q) + divergence(p);
    own_q.push_back(encode_side(own, s, at.to_items, at.to_users, tables.back()));
  }
  const auto q = encode_shared(tables);
  if (divergences) {
    kl_ = kl_ + (1 - options.beta()) * divergence(q);
    for (int64_t s = 0; s < scenes(); ++s) {
      const auto& place = nodes_[s].place;
      const auto mean = q.mean.index_select(0, place), deviation = q.deviation.index_select(0, place);
      const auto& other = own_q[s];
      const auto each = other.deviation.log() - deviation.log() +
                        (deviation.square() + (mean - other.mean).square()) / (2 * other.deviation.square()) - 0.5;
      kl_ = kl_ + options.beta() * each.sum() / static_cast<double>(std::max<int64_t>(place.numel(), 1));
    }
  }
  users_z.push_back(none);
  items_z.push_back(none);
  specific_z_ = torch::cat(users_z);
  item_z_ = torch::cat(items_z);
  shared_z_ = torch::cat({draw(q), none});
}

RankingModel::Scored DisenCDRImpl::score_batch(const data::Batch& batch) {
  auto out = FactorModel::score_batch(batch);
  const auto weighted = kl_ * (options.divergence() / (2 * static_cast<double>(scenes())));
  out.penalty = out.penalty.defined() ? out.penalty + weighted : weighted;
  return out;
}

Tensor DisenCDRImpl::user_vectors(const Tensor& rows, const Tensor& scene, std::vector<Tensor>* looked_up) {
  if (!specific_z_.defined()) begin_pass();
  const auto at = scene * users() + rows;
  if (looked_up) looked_up->insert(looked_up->end(), {user->forward(at), shared->forward(at)});
  return shared_z_.index_select(0, any_place_.index_select(0, rows)) +
         specific_z_.index_select(0, user_place_.index_select(0, at));
}

Tensor DisenCDRImpl::item_vectors(const Tensor& rows, const Tensor& scene, std::vector<Tensor>* looked_up) {
  if (!item_z_.defined()) begin_pass();
  const auto at = scene * items() + rows;
  if (looked_up) looked_up->push_back(item->forward(at));
  return item_z_.index_select(0, item_place_.index_select(0, at));
}

}  // namespace polyscene::models
