#include "polyscene/models/cross/scene_weights.h"

#include <algorithm>

namespace polyscene::models {

torch::Tensor scene_weights(const char* owner, const data::Schema& schema, const std::vector<double>& weights) {
  if (weights.empty()) return {};
  TORCH_CHECK_VALUE(weights.size() == schema.scenes.size(), owner, ": scene_weights must have one entry for each of ",
                    schema.scenes.size(), " scenes, got ", weights.size());
  for (const double weight : weights)
    TORCH_CHECK_VALUE(weight >= 0, owner, ": scene_weights must be 0 or more, got ", weight);
  TORCH_CHECK_VALUE(*std::max_element(weights.begin(), weights.end()) > 0, owner,
                    ": scene_weights are all 0, so that nothing would be trained; give one scene a weight");
  auto out = torch::ones({schema.num_scenes()});
  out.narrow(0, 0, static_cast<int64_t>(weights.size())).copy_(torch::tensor(weights));
  return out;
}

torch::Tensor row_weights(const torch::Tensor& weights, const data::Batch& batch) {
  if (!weights.defined()) return batch.weight;
  const auto each = batch.weight.defined() ? batch.weight : torch::ones({batch.size()});  // [B]
  const auto total = torch::zeros(weights.sizes()).index_add(0, batch.scene, each);       // [S]
  return each * (weights / total.clamp_min(1e-12)).index_select(0, batch.scene);
}

}  // namespace polyscene::models
