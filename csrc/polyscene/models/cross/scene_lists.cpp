#include "polyscene/models/cross/scene_lists.h"

namespace polyscene::models {

using torch::Tensor;

SceneLists::SceneLists(int64_t scenes, int64_t ids)
    : starts_(torch::zeros({scenes, ids}, torch::kInt64)),
      counts_(torch::zeros({scenes, ids}, torch::kInt64)),
      codes_(torch::zeros({0}, torch::kInt32)) {}

SceneLists::SceneLists(const data::Interactions& known, bool of_items, const Tensor& keep)
    : SceneLists(known.scenes(), of_items ? known.items() : known.users()) {
  std::vector<Tensor> codes;
  int64_t base = 0;
  for (int64_t s = 0; s < known.scenes(); ++s) {
    const auto& scene = known.scene(s);
    auto offsets = of_items ? scene.item_offsets : scene.user_offsets;
    auto listed = of_items ? scene.users : scene.items;
    if (keep.defined()) {
      const auto stays = keep[s].index_select(0, listed);
      const auto before = torch::cat({torch::zeros({1}, torch::kInt64), stays.to(torch::kInt64).cumsum(0)});
      offsets = before.index_select(0, offsets);
      listed = listed.masked_select(stays);
    }
    starts_[s].copy_(offsets.slice(0, 0, -1) + base);
    counts_[s].copy_(offsets.diff());
    base += listed.numel();
    codes.push_back(listed);
  }
  if (!codes.empty()) codes_ = torch::cat(codes);
}

Tensor SceneLists::drawn(const Tensor& id) const {
  const auto start = starts_.index_select(1, id).t(), count = counts(id);
  if (codes_.numel() == 0) return torch::zeros(start.sizes(), torch::kInt64);
  // In double precision the product is below the count for lists of any length that memory holds.
  const auto at = (torch::rand(start.sizes(), torch::kFloat64) * count).to(torch::kInt64) + start;
  const auto out = codes_.index_select(0, at.clamp_max(codes_.numel() - 1).flatten()).view(start.sizes());
  return out.to(torch::kInt64).masked_fill(count.eq(0), 0);
}

std::pair<Tensor, Tensor> SceneLists::all(const Tensor& id, const Tensor& wanted) const {
  const auto start = starts_.index_select(1, id).t().flatten();  // [n S]
  const auto count = (counts(id) * wanted).flatten();
  const auto begins = count.cumsum(0) - count;
  const auto shift = torch::repeat_interleave(start - begins, count);
  const auto at = torch::arange(shift.numel(), torch::kInt64) + shift;
  return {codes_.index_select(0, at).to(torch::kInt64), begins};
}

std::pair<Tensor, Tensor> SceneLists::padded(const Tensor& id, const Tensor& scene, int64_t length) const {
  const auto place = scene * starts_.size(1) + id;
  const auto start = starts_.flatten().index_select(0, place).unsqueeze(1);
  const auto count = counts_.flatten().index_select(0, place).unsqueeze(1);  // [n, 1]
  const auto step = torch::arange(length, torch::kInt64).unsqueeze(0);
  const auto there = step < count;
  if (codes_.numel() == 0) return {torch::zeros(there.sizes(), torch::kInt64), there};
  const auto spread = torch::where(count > length, (step * count).floor_divide(length), step);
  const auto at = (start + spread).clamp_max(codes_.numel() - 1);
  const auto codes = codes_.index_select(0, at.flatten()).view(there.sizes()).to(torch::kInt64);
  return {codes.masked_fill(there.logical_not(), 0), there};
}

}  // namespace polyscene::models
