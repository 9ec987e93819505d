#include "polyscene/models/cross/cdrib.h"

#include <algorithm>

#include "polyscene/nn/dense.h"

namespace polyscene::models {
namespace {

constexpr double kSpreadLimit = 0.4;  // of the authors

}  // namespace

using torch::Tensor;

CDRIBImpl::CDRIBImpl(std::shared_ptr<const data::Schema> schema, CDRIBOptions options_)
    : FactorModel(std::move(schema), options_.common, "CDRIB"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.layers() > 0, "CDRIB: layers must be positive, got ", options.layers());
  TORCH_CHECK_VALUE(options.beta() >= 0, "CDRIB: beta must be 0 or more, got ", options.beta());
  TORCH_CHECK_VALUE(options.divergence() >= 0, "CDRIB: divergence must be 0 or more, got ", options.divergence());
  TORCH_CHECK_VALUE(options.form() == "paper" || options.form() == "authors",
                    "CDRIB: form must be 'paper' or 'authors', got '", options.form(), "'");
  TORCH_CHECK_VALUE(options.scored() == "others" || options.scored() == "own" || options.scored() == "mean",
                    "CDRIB: scored must be 'others', 'own' or 'mean', got '", options.scored(), "'");
  TORCH_CHECK_VALUE(options.trained() == "others" || options.trained() == "mean",
                    "CDRIB: trained must be 'others' or 'mean', got '", options.trained(), "'");
  TORCH_CHECK_VALUE(options.contrast() >= 0, "CDRIB: contrast must be 0 or more, got ", options.contrast());
  TORCH_CHECK_VALUE(options.contrast_loss() == "hinge" || options.contrast_loss() == "bce",
                    "CDRIB: contrast_loss must be 'hinge' or 'bce', got '", options.contrast_loss(), "'");
  TORCH_CHECK_VALUE(options.margin() >= 0, "CDRIB: margin must be 0 or more, got ", options.margin());
  TORCH_CHECK_VALUE(options.contrasted() > 0, "CDRIB: contrasted must be positive, got ", options.contrasted());
  TORCH_CHECK_VALUE(options.dropout() >= 0 && options.dropout() < 1, "CDRIB: dropout must lie in [0, 1), got ",
                    options.dropout());
  TORCH_CHECK_VALUE(options.init_std() > 0, "CDRIB: init_std must be positive, got ", options.init_std());
  user = register_module("user", scene_tables(scenes(), users(), common.dim(), options.init_std()));
  item = register_module("item", scene_tables(scenes(), items(), common.dim(), options.init_std()));
  const double spread = options.form() == "paper" ? kSmallSpread : 0;
  users_of = register_module("users_of", variational_layers(scenes(), options.layers(), common.dim(), spread));
  items_of = register_module("items_of", variational_layers(scenes(), options.layers(), common.dim(), spread));
  first = register_module("first", torch::nn::Linear(2 * options.layers() * common.dim(), 128));
  second = register_module("second", torch::nn::Linear(128, 100));
  third = register_module("third", torch::nn::Linear(100, 1));
}

void CDRIBImpl::make_graphs() {
  const auto known = history() ? history()->interactions() : nullptr;
  if (made_ && made_of_ == known) return;
  made_ = true;
  made_of_ = known;
  graphs_ = known ? mean_graphs(*known) : std::vector<MeanGraph>();
  pairs_ = known ? static_cast<double>(known->pairs()) : 0;
  const auto present = known ? present_users(*known) : torch::zeros({scenes(), users()}, torch::kBool);
  scenes_of_ = present.sum(0).to(torch::kFloat32);
  const auto anywhere = scenes_of_.gt(0).nonzero().squeeze(1);
  any_place_ = places_of(anywhere, users(), 0, anywhere.numel());
  int64_t user_count = 0, item_count = 0;
  for (const auto& at : graphs_) user_count += at.users.numel(), item_count += at.items.numel();
  user_place_ = torch::full({scenes(), users()}, user_count, torch::kInt64);
  item_place_ = torch::full({scenes(), items()}, item_count, torch::kInt64);
  std::vector<Tensor> all, begins, counts, pairs;
  int64_t first_user = 0, first_item = 0;
  for (size_t s = 0; s < graphs_.size(); ++s) {
    const auto& at = graphs_[s];
    const auto n = at.users.numel();
    user_place_[s].copy_(places_of(at.users, users(), first_user, user_count));
    item_place_[s].copy_(places_of(at.items, items(), first_item, item_count));
    all.push_back(any_place_.index_select(0, at.users));
    begins.push_back(torch::full({n}, first_user, torch::kInt64));
    counts.push_back(torch::full({n}, n, torch::kInt64));
    for (size_t before = 0; before < s; ++before) {
      const auto both = present[before].logical_and(present[s]).nonzero().squeeze(1);
      pairs.push_back(
          torch::stack({user_place_[before].index_select(0, both), user_place_[s].index_select(0, both)}, 1));
    }
    first_user += n;
    first_item += at.items.numel();
  }
  const auto joined = [](const std::vector<Tensor>& parts) {
    return parts.empty() ? torch::empty({0}, torch::kInt64) : torch::cat(parts);
  };
  all_users_ = joined(all);
  first_of_ = joined(begins);
  count_of_ = joined(counts);
  pair_ = pairs.empty() ? torch::empty({0, 2}, torch::kInt64) : torch::cat(pairs);
  user_place_ = user_place_.flatten();
  item_place_ = item_place_.flatten();
}

void CDRIBImpl::begin_pass() {
  make_graphs();
  const auto width = options.layers() * common.dim();
  const auto none = torch::zeros({1, width}, user->weight.options());
  kl_ = torch::zeros({}, user->weight.options());
  users_z_ = total_z_ = items_z_ = none;
  if (graphs_.empty()) return;
  const bool divergences = is_training() || torch::GradMode::is_enabled(), wide = options.form() == "authors";
  const VariationalReading how{options.layers(), is_training() ? options.dropout() : 0, wide,
                               wide ? kSpreadLimit : 0.0};
  // The authors' prior goes through the same limit as what is compared with it.
  const double prior = wide ? deviation_of(torch::full({}, kSpreadLimit), true).item<double>() : 1;
  const auto side = [&](torch::nn::ModuleList& layers, int64_t s, const auto& there, const auto& back, const Tensor& x,
                        double weight) {
    std::vector<Tensor> parts;
    const auto q = read_graph(*layers, s, how, there, back, x, &parts);
    parts.push_back(is_training() ? q.mean + torch::randn_like(q.mean) * q.deviation : q.mean);
    if (divergences) {
      const auto each = divergence(q, prior).sum();
      kl_ = kl_ + each * (wide ? weight / static_cast<double>(std::max<int64_t>(x.size(0), 1)) : weight);
    }
    return torch::cat(parts, 1);
  };
  std::vector<Tensor> of_users, of_items;
  for (int64_t s = 0; s < scenes(); ++s) {
    const auto& at = graphs_[s];
    of_users.push_back(
        side(users_of, s, at.to_items, at.to_users, user->forward(at.users + s * users()), options.beta()));
    of_items.push_back(side(items_of, s, at.to_users, at.to_items, item->forward(at.items + s * items()), 1));
  }
  of_users.push_back(none);
  of_items.push_back(none);
  users_z_ = torch::cat(of_users);
  items_z_ = torch::cat(of_items);
  const auto known_users = scenes_of_.gt(0).sum().item<int64_t>();
  total_z_ = torch::zeros({known_users + 1, width}, none.options())
                 .index_add(0, all_users_, users_z_.slice(0, 0, all_users_.numel()));
}

Tensor CDRIBImpl::compared(const Tensor& a, const Tensor& b) {
  const auto hidden = torch::relu(nn::dense(torch::relu(nn::dense(torch::cat({a, b}, 1), *first)), *second));
  return nn::dense(hidden, *third).squeeze(1);
}

Tensor CDRIBImpl::contrast_loss() {
  const auto n = options.contrasted();
  // Double, so that the last of many rows can be drawn.
  const auto wide = torch::TensorOptions().dtype(torch::kFloat64);
  const auto chosen = (torch::rand({n}, wide) * static_cast<double>(pair_.size(0))).to(torch::kInt64);
  const auto a = pair_.select(1, 0).index_select(0, chosen), b = pair_.select(1, 1).index_select(0, chosen);
  const auto stranger = [&](const Tensor& like) {
    return first_of_.index_select(0, like) +
           (torch::rand({n}, wide) * count_of_.index_select(0, like)).to(torch::kInt64);
  };
  const auto strange_b = stranger(b), strange_a = stranger(a);
  const auto z = [&](const Tensor& rows) { return users_z_.index_select(0, rows); };
  const auto own = compared(z(a), z(b)), other_b = compared(z(a), z(strange_b)), other_a = compared(z(strange_a), z(b));
  if (options.contrast_loss() == "bce") {
    return (2 * torch::softplus(-own) + torch::softplus(other_b) + torch::softplus(other_a)).mean();
  }
  const auto high = options.margin() - torch::sigmoid(own);
  return (torch::relu(high + torch::sigmoid(other_b)) + torch::relu(high + torch::sigmoid(other_a))).mean();
}

RankingModel::Scored CDRIBImpl::score_batch(const data::Batch& batch) {
  auto out = FactorModel::score_batch(batch);
  const double halves = static_cast<double>(2 * scenes());
  const double terms =
      options.form() == "authors" ? halves : std::max(pairs_ * static_cast<double>(1 + batch.negative.size(1)), 1.0);
  auto joins = kl_ * (options.divergence() / terms);
  if (options.contrast() > 0 && pair_.size(0) > 0) joins = joins + contrast_loss() * (options.contrast() / halves);
  out.penalty = out.penalty.defined() ? out.penalty + joins : joins;
  return out;
}

Tensor CDRIBImpl::user_vectors(const Tensor& rows, const Tensor& scene, std::vector<Tensor>* looked_up) {
  const auto at = scene * users() + rows;
  if (looked_up) looked_up->push_back(user->forward(at));
  const auto place = user_place_.index_select(0, at);
  const auto own = users_z_.index_select(0, place);                                  // [n, L D]
  const auto total = total_z_.index_select(0, any_place_.index_select(0, rows));     // [n, L D]
  const auto here = place.lt(users_z_.size(0) - 1).unsqueeze(1);                     // [n, 1]
  const auto count = scenes_of_.index_select(0, rows).to(own.dtype()).unsqueeze(1);  // [n, 1]
  const auto elsewhere = count - here.to(own.dtype());
  if ((is_training() ? options.trained() : options.scored()) == "mean") return total / count.clamp_min(1);
  const auto others = (total - own) / elsewhere.clamp_min(1);
  const bool own_first = !is_training() && options.scored() == "own";
  return own_first ? torch::where(here, own, others) : torch::where(elsewhere.gt(0), others, own);
}

Tensor CDRIBImpl::item_vectors(const Tensor& rows, const Tensor& scene, std::vector<Tensor>* looked_up) {
  const auto at = scene * items() + rows;
  if (looked_up) looked_up->push_back(item->forward(at));
  return items_z_.index_select(0, item_place_.index_select(0, at));
}

}  // namespace polyscene::models
