#include "polyscene/models/cross/cmf.h"

#include "polyscene/models/cross/scene_weights.h"

namespace polyscene::models {

CMFImpl::CMFImpl(std::shared_ptr<const data::Schema> schema, CMFOptions options_)
    : FactorModel(std::move(schema), options_.common, "CMF"), options(std::move(options_)) {
  weights_ = scene_weights("CMF", this->schema(), options.scene_weights());
  user = register_module("user", xavier_table(users(), common.dim()));
  item = register_module("item", xavier_table(items(), common.dim()));
}

torch::Tensor CMFImpl::user_vectors(const torch::Tensor& rows, const torch::Tensor&,
                                    std::vector<torch::Tensor>* looked_up) {
  const auto out = user->forward(rows);
  if (looked_up) looked_up->push_back(out);
  return out;
}

torch::Tensor CMFImpl::item_vectors(const torch::Tensor& rows, const torch::Tensor&,
                                    std::vector<torch::Tensor>* looked_up) {
  const auto out = item->forward(rows);
  if (looked_up) looked_up->push_back(out);
  return out;
}

torch::Tensor CMFImpl::row_weight(const data::Batch& batch) const { return row_weights(weights_, batch); }

}  // namespace polyscene::models
