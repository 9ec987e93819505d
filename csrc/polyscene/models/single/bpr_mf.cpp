#include "polyscene/models/single/bpr_mf.h"

namespace polyscene::models {

BPRMFImpl::BPRMFImpl(std::shared_ptr<const data::Schema> schema, BPRMFOptions options_)
    : FactorModel(std::move(schema), options_.common, "BPRMF"), options(std::move(options_)) {
  user = register_module("user", xavier_table(users(), common.dim()));
  item = register_module("item", xavier_table(items(), common.dim()));
  if (options.item_bias()) bias = register_module("bias", normal_table(items(), 1, 0));
}

torch::Tensor BPRMFImpl::user_vectors(const torch::Tensor& rows, const torch::Tensor&,
                                      std::vector<torch::Tensor>* looked_up) {
  const auto out = user->forward(rows);
  if (looked_up) looked_up->push_back(out);
  return out;
}

torch::Tensor BPRMFImpl::item_vectors(const torch::Tensor& rows, const torch::Tensor&,
                                      std::vector<torch::Tensor>* looked_up) {
  const auto out = item->forward(rows);
  if (looked_up) looked_up->push_back(out);
  return out;
}

torch::Tensor BPRMFImpl::item_offsets(const torch::Tensor& rows, const torch::Tensor&) {
  return bias ? bias->forward(rows).squeeze(1) : torch::Tensor();
}

}  // namespace polyscene::models
