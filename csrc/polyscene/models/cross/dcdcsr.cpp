#include "polyscene/models/cross/dcdcsr.h"

#include <algorithm>

namespace polyscene::models {
namespace {

struct Range {
  torch::Tensor middle, half;  // [n, 1]; a constant row has half 1
};

Range range_of(const torch::Tensor& v) {
  const auto high = v.amax(1, /*keepdim=*/true), low = v.amin(1, /*keepdim=*/true);
  const auto middle = (high + low) / 2, half = high - middle;
  return {middle, torch::where(half > 0, half, torch::ones_like(half))};
}

torch::Tensor normalized(const torch::Tensor& v) {
  if (v.size(0) == 0) return v;
  const auto [middle, half] = range_of(v);
  return (v - middle) / half;
}

}  // namespace

DCDCSRImpl::DCDCSRImpl(std::shared_ptr<const data::Schema> schema, DCDCSROptions options_)
    : FactorModel(std::move(schema), options_.common, "DCDCSR"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.neighbours() > 0, "DCDCSR: neighbours must be positive, got ", options.neighbours());
  TORCH_CHECK_VALUE(options.weigh_by() == "own" || options.weigh_by() == "other",
                    "DCDCSR: weigh_by must be 'own' or 'other', got '", options.weigh_by(), "'",
                    suggestion(options.weigh_by(), {"own", "other"}));
  TORCH_CHECK_VALUE(options.hidden() > 0, "DCDCSR: hidden must be positive, got ", options.hidden());
  TORCH_CHECK_VALUE(options.map_epochs() >= 0, "DCDCSR: map_epochs must be 0 or more, got ", options.map_epochs());
  TORCH_CHECK_VALUE(options.map_batch() > 0, "DCDCSR: map_batch must be positive, got ", options.map_batch());
  user = register_module("user", scene_tables(scenes(), users(), common.dim()));
  item = register_module("item", scene_tables(scenes(), items(), common.dim()));
  map = register_module("map", torch::nn::ModuleList());
  for (int64_t s = 0; s < scenes(); ++s)
    map->push_back(
        nn::MLP(common.dim(), nn::MLPOptions().hidden({options.hidden()}).output(common.dim()).activation("tanh")));
  user_rows = register_buffer("user_rows", torch::zeros({scenes(), users()}, torch::kInt32));
  stage = register_buffer("stage", torch::zeros({}, torch::kInt64));
}

void DCDCSRImpl::prepare(const data::Table& train) {
  FactorModel::prepare(train);
  for (int64_t s = 0; s < scenes(); ++s) user_rows[s].copy_(known().scene(s).user_offsets.diff());
}

torch::Tensor DCDCSRImpl::bridges(int64_t scene) const {
  const auto seen = user_rows.gt(0);  // [S, U]
  return seen[scene].logical_and(seen.sum(0).ge(2)).nonzero().squeeze(1);
}

std::vector<Phase> DCDCSRImpl::phases() const {
  std::vector<Phase> out, last;
  torch::Tensor mapped_users = torch::zeros({users()}, torch::kBool);
  const auto& names = schema().scenes;
  for (size_t s = 0; s < names.size(); ++s) {
    const auto here = user_rows[static_cast<int64_t>(s)].gt(0);
    if (!here.any().item<bool>()) continue;
    Phase phase;
    phase.name = "factors of " + names[s];
    phase.scenes = {names[s]};
    phase.of_known = true;
    out.push_back(phase);
    phase.of_known = false;
    if (bridges(static_cast<int64_t>(s)).numel() == 0) continue;
    mapped_users.logical_or_(here);
    phase.name = "items of " + names[s];
    phase.frozen = {"user", "map"};
    last.push_back(std::move(phase));
  }
  if (out.empty()) out.emplace_back();
  if (last.empty()) return out;
  Phase mapping;
  mapping.name = "map";
  mapping.frozen = {"user", "item"};
  mapping.epochs = options.map_epochs();
  mapping.batch_size = options.map_batch();
  mapping.users = mapped_users.nonzero().squeeze(1);
  mapping.newest = true;  // what it serves may be nobody among the validation rows
  out.push_back(std::move(mapping));
  out.insert(out.end(), last.begin(), last.end());
  return out;
}

void DCDCSRImpl::begin_phase(const Phase& phase) {
  const bool held = std::find(phase.frozen.begin(), phase.frozen.end(), "map") != phase.frozen.end();
  stage.fill_(phase.users.defined() ? 1 : held ? 2 : 0);
}

torch::Tensor DCDCSRImpl::rows_of(int64_t scene, const torch::Tensor& rows) const {
  return user->weight.detach().index_select(0, rows + scene * users());
}

DCDCSRImpl::Others DCDCSRImpl::others(int64_t scene, const torch::Tensor& rows) const {
  auto sum = torch::zeros({rows.numel(), common.dim()}, user->weight.options().requires_grad(false));
  auto count = torch::zeros({rows.numel(), 1}, sum.options()), pairs = torch::zeros_like(count);
  for (int64_t s = 0; s < scenes(); ++s) {
    if (s == scene) continue;
    const auto n = user_rows[s].index_select(0, rows).unsqueeze(1).to(sum.scalar_type());  // [n, 1]
    const auto there = n.gt(0).to(sum.scalar_type());
    sum.addcmul_(there, rows_of(s, rows));
    count.add_(there);
    pairs.add_(n);
  }
  count.clamp_min_(1);
  return {sum / count, pairs / count};
}

torch::Tensor DCDCSRImpl::benchmark(int64_t scene, const torch::Tensor& rows) const {
  const torch::NoGradGuard no_grad;
  const auto own = rows_of(scene, rows);  // [n, D]
  auto [vector, pairs] = others(scene, rows);
  const auto alone = pairs.squeeze(1).eq(0).nonzero().squeeze(1);
  if (alone.numel() > 0) {
    const auto bridge = bridges(scene);
    const auto k = std::min(options.neighbours(), bridge.numel());
    const auto alike = torch::mm(own.index_select(0, alone), rows_of(scene, bridge).t());  // [m, bridges]
    const auto [value, place] = alike.topk(k, 1);
    // Those who are least alike among the nearest weigh nothing, should all products be negative.
    auto weight = value.clamp_min(0);
    weight = torch::where(weight.sum(1, true) > 0, weight, torch::ones_like(weight));
    weight = weight / weight.sum(1, true);  // [m, k]
    const auto theirs = others(scene, bridge);
    const auto gather = [&](const torch::Tensor& x) {
      return x.index_select(0, place.flatten()).view({alone.numel(), k, -1});
    };
    vector.index_copy_(0, alone, (gather(theirs.vector) * weight.unsqueeze(2)).sum(1));
    pairs.index_copy_(0, alone, gather(theirs.rows).mean(1));
  }
  const auto mine = user_rows[scene].index_select(0, rows).unsqueeze(1).to(own.scalar_type());  // [n, 1]
  const auto share = (options.weigh_by() == "own" ? mine : pairs) / (mine + pairs).clamp_min(1e-12);
  return share * own + (1 - share) * vector;
}

torch::Tensor DCDCSRImpl::mapped(int64_t scene, const torch::Tensor& vectors) {
  return map->at<nn::MLPImpl>(static_cast<size_t>(scene)).forward(normalized(vectors)).tanh();
}

torch::Tensor DCDCSRImpl::loss(const data::Batch& batch) {
  if (batch.negative.defined() || stage.item<int64_t>() == 0) return FactorModel::loss(batch);
  check(batch);
  auto total = torch::zeros({});
  int64_t count = 0;
  for (int64_t t = 0; t < scenes(); ++t) {
    const auto here = user_rows[t].index_select(0, batch.user).gt(0).nonzero().squeeze(1);
    const bool linked = bridges(t).numel() > 0;
    const auto rows = batch.user.index_select(0, linked ? here : here.narrow(0, 0, 0));
    const auto error = mapped(t, rows_of(t, rows)) - normalized(benchmark(t, rows));
    total = total + error.square().mean(1).sum();
    count += rows.numel();
  }
  return total / static_cast<double>(std::max<int64_t>(count, 1));
}

torch::Tensor DCDCSRImpl::affine(int64_t scene, const torch::Tensor& rows) {
  const torch::NoGradGuard no_grad;
  const auto own = rows_of(scene, rows);
  const auto [vector, pairs] = others(scene, rows);
  const auto here = user_rows[scene].index_select(0, rows).gt(0).unsqueeze(1);  // [n, 1]
  const auto [middle, half] = range_of(own);
  const auto moved = mapped(scene, own) * half + middle;
  // Who has been nowhere keeps the start.
  return torch::where(here, moved, torch::where(pairs.gt(0), vector, own));
}

torch::Tensor DCDCSRImpl::user_vectors(const torch::Tensor& rows, const torch::Tensor& scene,
                                       std::vector<torch::Tensor>* looked_up) {
  if (stage.item<int64_t>() < 2) {
    const auto out = user->forward(scene * users() + rows);
    if (looked_up) looked_up->push_back(out);
    return out;
  }
  auto out = user->weight.detach().index_select(0, scene * users() + rows);
  for (int64_t t = 0; t < scenes(); ++t) {
    const auto mine = scene.eq(t).nonzero().squeeze(1);
    if (mine.numel() > 0 && bridges(t).numel() > 0) out.index_copy_(0, mine, affine(t, rows.index_select(0, mine)));
  }
  return out;
}

torch::Tensor DCDCSRImpl::item_vectors(const torch::Tensor& rows, const torch::Tensor& scene,
                                       std::vector<torch::Tensor>* looked_up) {
  const auto out = item->forward(scene * items() + rows);
  if (looked_up) looked_up->push_back(out);
  return out;
}

}  // namespace polyscene::models
