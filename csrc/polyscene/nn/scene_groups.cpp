#include "polyscene/nn/scene_groups.h"

namespace polyscene::nn {
namespace {

std::vector<int64_t> to_vector(const torch::Tensor& offsets) {
  const auto* first = offsets.const_data_ptr<int64_t>();
  return {first, first + offsets.numel()};
}

}  // namespace

GroupedBatch group(const data::Batch& batch, int64_t scenes) {
  if (batch.scene_offsets.defined()) return {batch, {to_vector(batch.scene_offsets)}, {}};
  const auto scene = batch.scene.cpu();
  std::vector<int64_t> offsets(scenes + 1, 0);
  bool ordered = true;
  const auto* of = scene.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < scene.numel(); ++b) {
    TORCH_CHECK_INDEX(of[b] >= 0 && of[b] < scenes, "group: scenes are 0..", scenes - 1, ", got ", of[b],
                      " in batch row ", b);
    ++offsets[of[b] + 1];
    ordered = ordered && (b == 0 || of[b - 1] <= of[b]);
  }
  for (int64_t s = 0; s < scenes; ++s) offsets[s + 1] += offsets[s];
  if (ordered) return {batch, {offsets}, {}};
  const auto order = std::get<1>(scene.sort(/*stable=*/true, /*dim=*/0, /*descending=*/false));
  auto back = torch::empty_like(order);
  back.index_put_({order}, torch::arange(order.numel()));
  return {batch.take(order.to(batch.scene.device())), {offsets}, back.to(batch.scene.device())};
}

}  // namespace polyscene::nn
