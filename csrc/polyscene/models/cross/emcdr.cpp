#include "polyscene/models/cross/emcdr.h"

#include <algorithm>

namespace polyscene::models {

EMCDRImpl::EMCDRImpl(std::shared_ptr<const data::Schema> schema, EMCDROptions options_)
    : SceneFactorModel(std::move(schema), options_.common, options_.map_users(), "EMCDR"),
      options(std::move(options_)) {
  const bool mlp = options.mapping() == "mlp";
  TORCH_CHECK_VALUE(mlp || options.mapping() == "linear", "EMCDR: mapping must be 'linear' or 'mlp', got '",
                    options.mapping(), "'", suggestion(options.mapping(), {"linear", "mlp"}));
  TORCH_CHECK_VALUE(options.hidden() > 0, "EMCDR: hidden must be positive, got ", options.hidden());
  TORCH_CHECK_VALUE(options.map_epochs() >= 0, "EMCDR: map_epochs must be 0 or more, got ", options.map_epochs());
  TORCH_CHECK_VALUE(options.map_batch() > 0, "EMCDR: map_batch must be positive, got ", options.map_batch());
  map = register_module("map", PairMaps(scenes(), common.dim(), mlp ? options.hidden() : 0, /*bounded=*/false));
}

std::vector<Phase> EMCDRImpl::phases() const {
  auto out = factor_phases();
  if (const auto both = overlapping(); both.numel() > 0) {
    Phase mapping;
    mapping.name = "map";
    mapping.frozen = {"user", "item"};
    mapping.epochs = options.map_epochs();
    mapping.batch_size = options.map_batch();
    mapping.users = both;
    out.push_back(std::move(mapping));
  }
  return out;
}

torch::Tensor EMCDRImpl::loss(const data::Batch& batch) {
  if (batch.negative.defined() || stage.item<int64_t>() == 0) return SceneFactorModel::loss(batch);
  check(batch);
  return map_loss(batch.user);
}

torch::Tensor EMCDRImpl::map_loss(const torch::Tensor& rows) {
  const auto maps = map->open();
  auto total = scenes() > 1 ? map->first.sum() * 0 : torch::zeros({});
  int64_t count = 0;
  for (int64_t t = 0; t < scenes(); ++t) {
    const auto in_t = rows.index_select(0, seen_in(t, rows));
    for (int64_t s = 0; s < scenes(); ++s) {
      const auto both = s == t ? torch::Tensor() : in_t.index_select(0, seen_in(s, in_t));
      if (!both.defined() || both.numel() == 0) continue;
      const auto wanted = own_users(t, both).detach();  // [n, D]
      const auto mapped = maps(s, t, own_users(s, both).detach());
      total = total + (mapped - wanted).square().mean(1).sum();
      count += both.numel();
    }
  }
  return total / static_cast<double>(std::max<int64_t>(count, 1));
}

torch::Tensor EMCDRImpl::transferred(int64_t to, const torch::Tensor& rows) {
  const auto maps = map->open();
  auto sum = torch::zeros({rows.numel(), common.dim()}, user->weight.options());
  auto count = torch::zeros({rows.numel(), 1}, user->weight.options());
  for (int64_t s = 0; s < scenes(); ++s) {
    const auto there = s == to ? torch::Tensor() : seen_in(s, rows);
    if (!there.defined() || there.numel() == 0) continue;
    sum = sum.index_add(0, there, maps(s, to, own_users(s, rows.index_select(0, there))));
    count.index_add_(0, there, torch::ones({there.numel(), 1}, count.options()));
  }
  return sum / count;
}

torch::Tensor EMCDRImpl::user_vectors(const torch::Tensor& rows, const torch::Tensor& scene,
                                      std::vector<torch::Tensor>* looked_up) {
  return user_factors(rows, scene, looked_up);
}

torch::Tensor EMCDRImpl::item_vectors(const torch::Tensor& rows, const torch::Tensor& scene,
                                      std::vector<torch::Tensor>* looked_up) {
  return item_factors(rows, scene, looked_up);
}

}  // namespace polyscene::models
