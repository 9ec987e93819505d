#include "polyscene/nn/scene_groups.h"

#include "polyscene/nn/reorder.h"

namespace polyscene::nn {
namespace {

std::vector<int64_t> to_vector(const torch::Tensor& offsets) {
  const auto* first = offsets.const_data_ptr<int64_t>();
  return {first, first + offsets.numel()};
}

}  // namespace

GroupedBatch group(const data::Batch& batch, int64_t scenes) {
  if (batch.scene_offsets.defined()) return {batch, {to_vector(batch.scene_offsets)}, {}};
  const auto order = order_by(batch.scene, scenes, "group: scenes", "batch row");
  const auto& offsets = order.groups.offsets;
  const auto still = torch::arange(batch.size(), order.order.options());
  if (order.order.equal(still)) return {batch, {offsets}, {}};
  return {batch.take(order.order), {offsets}, order.back};
}

}  // namespace polyscene::nn
