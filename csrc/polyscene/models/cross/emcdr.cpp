#include "polyscene/models/cross/emcdr.h"

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

std::vector<Phase> EMCDRImpl::phases() const { return with_mapping(options.map_epochs(), options.map_batch()); }

torch::Tensor EMCDRImpl::loss(const data::Batch& batch) {
  if (batch.negative.defined() || stage.item<int64_t>() == 0) return SceneFactorModel::loss(batch);
  check(batch);
  const auto maps = map->open();
  return over_pairs(batch.user, map->zero(), [&](int64_t s, int64_t t, const torch::Tensor& both) {
    const auto mapped = maps(s, t, own_users(s, both).detach());  // [n, D]
    return (mapped - own_users(t, both).detach()).square().mean(1).sum();
  });
}

torch::Tensor EMCDRImpl::transferred(int64_t to, const torch::Tensor& rows) {
  const auto maps = map->open();
  return over_sources(to, rows,
                      [&](int64_t s, const torch::Tensor& there) { return maps(s, to, own_users(s, there)); });
}

torch::Tensor EMCDRImpl::user_vectors(const torch::Tensor& rows, const torch::Tensor& scene,
                                      std::vector<torch::Tensor>* looked_up) {
  return user_factors(rows, scene, looked_up);
}

torch::Tensor EMCDRImpl::item_vectors(const torch::Tensor& rows, const torch::Tensor& scene,
                                      std::vector<torch::Tensor>* looked_up) {
  return item_factors(rows, scene, looked_up);
}

torch::Tensor EMCDRImpl::moved(int64_t from, int64_t to, const torch::Tensor& vector, const torch::Tensor&) {
  return stage.item<int64_t>() > 0 ? map->open()(from, to, vector) : vector;
}

}  // namespace polyscene::models
