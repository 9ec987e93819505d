#include "polyscene/models/cross/sscdr.h"

#include <algorithm>
#include <limits>

#include "polyscene/models/graphs.h"

namespace polyscene::models {
namespace {

constexpr int kTries = 100;  // draws of an item that a user did not meet, who may have met all

// Into the unit ball.
torch::Tensor inside(const torch::Tensor& v) { return v / v.norm(2, -1, /*keepdim=*/true).clamp_min(1); }

// -|u - i|^2 = [2u, -|u|^2, 1] . [i, 1, -|i|^2]: distances by one product.
torch::Tensor as_user(const torch::Tensor& v) {
  const auto square = v.square().sum(1, /*keepdim=*/true);
  return torch::cat({2 * v, -square, torch::ones_like(square)}, 1);
}

torch::Tensor apart(const torch::Tensor& a, const torch::Tensor& b) { return (a - b).square().sum(-1); }

// An item of each user in a scene and one that it did not meet there, int64 [n] each; users have been there.
std::pair<torch::Tensor, torch::Tensor> draw(const data::Interactions::Scene& scene, const torch::Tensor& users) {
  const auto n = users.numel(), candidates = scene.candidates.numel();
  auto near = torch::empty({n}, torch::kInt64), far = torch::empty({n}, torch::kInt64);
  // Numbers of the default generator, which the trainer seeds in each epoch; below 2^62, so that a remainder is fair.
  const auto numbers = torch::randint(int64_t{1} << 62, {n, 1 + kTries}, torch::kInt64);
  const auto *user = users.const_data_ptr<int64_t>(), *number = numbers.const_data_ptr<int64_t>(),
             *any = scene.candidates.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < n; ++b, number += 1 + kTries) {
    near.data_ptr<int64_t>()[b] = scene.begin(user[b])[number[0] % scene.degree(user[b])];
    int64_t item = any[number[1] % candidates];
    for (int k = 2; k <= kTries && scene.contains(user[b], item); ++k) item = any[number[k] % candidates];
    far.data_ptr<int64_t>()[b] = item;
  }
  return {near, far};
}

}  // namespace

SSCDRImpl::SSCDRImpl(std::shared_ptr<const data::Schema> schema, SSCDROptions options_)
    : SceneFactorModel(std::move(schema), options_.common, options_.map_users(), "SSCDR"),
      options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.margin() >= 0, "SSCDR: margin must be 0 or more, got ", options.margin());
  TORCH_CHECK_VALUE(options.distance() == "squared" || options.distance() == "plain",
                    "SSCDR: distance must be 'squared' or 'plain', got '", options.distance(), "'",
                    suggestion(options.distance(), {"squared", "plain"}));
  TORCH_CHECK_VALUE(options.unsupervised() >= 0, "SSCDR: unsupervised must be 0 or more, got ", options.unsupervised());
  TORCH_CHECK_VALUE(options.hidden() > 0, "SSCDR: hidden must be positive, got ", options.hidden());
  TORCH_CHECK_VALUE(options.hops() >= 0, "SSCDR: hops must be 0 or more, got ", options.hops());
  TORCH_CHECK_VALUE(options.map_epochs() >= 0, "SSCDR: map_epochs must be 0 or more, got ", options.map_epochs());
  TORCH_CHECK_VALUE(options.map_batch() > 0, "SSCDR: map_batch must be positive, got ", options.map_batch());
  map = register_module("map", PairMaps(scenes(), common.dim(), options.hidden(), /*bounded=*/true));
}

std::vector<Phase> SSCDRImpl::phases() const { return with_mapping(options.map_epochs(), options.map_batch()); }

torch::Tensor SSCDRImpl::hinge(const torch::Tensor& near, const torch::Tensor& far) const {
  // A root of 0 has no gradient.
  const auto size = [&](const torch::Tensor& d) {
    return options.distance() == "squared" ? d : d.clamp_min(1e-12).sqrt();
  };
  return (options.margin() + size(near) - size(far)).clamp_min(0);
}

torch::Tensor SSCDRImpl::loss(const data::Batch& batch) {
  if (!batch.negative.defined() && stage.item<int64_t>() > 0) {
    check(batch);
    return map_loss(batch.user);
  }
  check(batch);
  TORCH_CHECK_VALUE(batch.negative.defined(),
                    "sscdr: the batch has no negatives; the trainer draws them, table.batch(rows, negatives=",
                    common.negatives(), ") does so by hand");
  const auto scored = score_batch(batch);
  const auto each = hinge(-scored.own.unsqueeze(1), -scored.drawn).mean(1);  // [B]
  const auto out = weighted_mean(each, batch.weight);
  return scored.penalty.defined() ? out + scored.penalty : out;
}

torch::Tensor SSCDRImpl::map_loss(const torch::Tensor& rows) {
  const auto maps = map->open();
  return over_pairs(rows, map->zero(), [&](int64_t s, int64_t t, const torch::Tensor& both) {
    const auto wanted = inside(own_users(t, both).detach());  // [n, D]
    auto each = (maps(s, t, own_users(s, both).detach()) - wanted).square().mean(1);
    if (options.unsupervised() > 0) {
      const auto [near, far] = draw(known().scene(s), both);
      const auto mapped = [&](const torch::Tensor& items_) {
        return inside(maps(s, t, item->forward(items_ + s * items()).detach()));
      };
      each = each + options.unsupervised() * hinge(apart(wanted, mapped(near)), apart(wanted, mapped(far)));
    }
    return each.sum();
  });
}

void SSCDRImpl::begin_pass() { carried_.assign(static_cast<size_t>(scenes() * scenes()), {}); }

torch::Tensor SSCDRImpl::gathered(int64_t from, int64_t to, const torch::Tensor& rows,
                                  const PairMapsImpl::Opened& maps) {
  if (options.hops() == 0 || !history()) return maps(from, to, own_users(from, rows));
  auto& all = carried_[static_cast<size_t>(from * scenes() + to)];
  if (!all.defined()) {
    if (graphs_of_ != history()->interactions()) {
      graphs_of_ = history()->interactions();
      graphs_.assign(static_cast<size_t>(scenes()), nullptr);
    }
    auto& graph = graphs_[static_cast<size_t>(from)];
    if (!graph) graph = bipartite(graphs_of_->scene(from), EdgeWeight::kMean);
    auto layer = maps(from, to,
                      torch::cat({user->weight.narrow(0, from * users(), users()),
                                  item->weight.narrow(0, from * items(), items())}));  // [U + I, D]
    auto sum = layer;
    for (int64_t k = 0; k < options.hops(); ++k) {
      layer = nn::sparse_product(graph, layer);
      sum = sum + layer;
    }
    all = sum.narrow(0, 0, users()) / static_cast<double>(options.hops() + 1);
  }
  return all.index_select(0, rows);
}

torch::Tensor SSCDRImpl::transferred(int64_t to, const torch::Tensor& rows) {
  const auto maps = map->open();
  return over_sources(to, rows, [&](int64_t s, const torch::Tensor& there) { return gathered(s, to, there, maps); });
}

torch::Tensor SSCDRImpl::user_vectors(const torch::Tensor& rows, const torch::Tensor& scene,
                                      std::vector<torch::Tensor>* looked_up) {
  return as_user(inside(user_factors(rows, scene, looked_up)));
}

torch::Tensor SSCDRImpl::item_vectors(const torch::Tensor& rows, const torch::Tensor& scene,
                                      std::vector<torch::Tensor>* looked_up) {
  const auto v = inside(item_factors(rows, scene, looked_up));
  const auto square = v.square().sum(1, /*keepdim=*/true);
  return torch::cat({v, torch::ones_like(square), -square}, 1);
}

torch::Tensor SSCDRImpl::folded(const torch::Tensor& met, const torch::Tensor&) const {
  return as_user(met.narrow(1, 0, common.dim()).mean(0, /*keepdim=*/true).to(torch::kFloat64));
}

torch::Tensor SSCDRImpl::moved(int64_t from, int64_t to, const torch::Tensor& vector, const torch::Tensor&) {
  if (stage.item<int64_t>() == 0) return vector;
  const auto scale = vector.narrow(1, common.dim() + 1, 1);  // of the whole, in which distances do not mind it
  return as_user(inside(map->open()(from, to, vector.narrow(1, 0, common.dim()) / (2 * scale)))) * scale;
}

torch::Tensor SSCDRImpl::similarity(int64_t id, int64_t from, int64_t to, const torch::Tensor& ids) {
  const torch::NoGradGuard no_grad;
  if (from != to) return torch::full({ids.numel()}, -std::numeric_limits<float>::infinity());
  const auto points = [&](const torch::Tensor& of) { return vectors_of_items(to, of).narrow(1, 0, common.dim()); };
  return torch::cosine_similarity(points(ids), points(torch::tensor({id}, torch::kInt64)), 1, 1e-12);
}

}  // namespace polyscene::models
