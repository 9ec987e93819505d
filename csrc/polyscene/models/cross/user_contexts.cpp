#include "polyscene/models/cross/user_contexts.h"

#include <algorithm>

namespace polyscene::models {
namespace {

using torch::Tensor;

Tensor steps(const Tensor& kept) {
  const auto most = kept.numel() > 0 ? kept.max().item<int64_t>() : 0;
  return torch::arange(std::max<int64_t>(most, 1), torch::kInt64).unsqueeze(0);
}

Tensor uniform(torch::IntArrayRef shape) {
  // In double precision a product with a count stays below the count.
  return torch::rand(shape, torch::kFloat64);
}

}  // namespace

UserContexts::UserContexts(int64_t scenes, int64_t users, int64_t items)
    : starts_(torch::zeros({scenes, users}, torch::kInt64)),
      counts_(torch::zeros({scenes, users}, torch::kInt64)),
      keys_(torch::zeros({0}, torch::kInt64)),
      items_(items) {}

UserContexts::UserContexts(const data::Interactions& known)
    : UserContexts(known.scenes(), known.users(), known.items()) {
  std::vector<Tensor> keys;
  int64_t base = 0;
  for (int64_t s = 0; s < known.scenes(); ++s) {
    const auto& scene = known.scene(s);
    starts_[s].copy_(scene.user_offsets.slice(0, 0, -1) + base);
    counts_[s].copy_(scene.user_offsets.diff());
    const auto user = torch::repeat_interleave(torch::arange(known.users(), torch::kInt64), counts_[s].contiguous());
    keys.push_back((user + s * known.users()) * items_ + scene.items);
    base += scene.pairs();
  }
  if (!keys.empty()) keys_ = torch::cat(keys);
}

Tensor UserContexts::find(const Tensor& user, const Tensor& item, const Tensor& scene) const {
  if (keys_.numel() == 0) return torch::full(user.sizes(), -1, torch::kInt64);
  const auto key = ((scene * counts_.size(1) + user) * items_ + item).contiguous();
  const auto place = torch::searchsorted(keys_, key).clamp_max(keys_.numel() - 1);
  return torch::where(keys_.index_select(0, place).eq(key), place, -1);
}

Tensor UserContexts::places(const Tensor& position, const Tensor& user, const Tensor& count) const {
  const auto end = count.cumsum(1);                                                                   // [n, S]
  const auto scene = position.unsqueeze(2).ge(end.unsqueeze(1)).sum(2).clamp_max(count.size(1) - 1);  // [n, L]
  return position + (starts_.index_select(1, user).t() - end + count).gather(1, scene);
}

UserContexts::Context UserContexts::items_at(const Tensor& place, const Tensor& there) const {
  const auto none = there.logical_not();
  if (keys_.numel() == 0) return {torch::zeros(place.sizes(), torch::kInt64), there};
  const auto key = keys_.index_select(0, place.masked_fill(none, 0).flatten()).view(place.sizes());
  const auto scene = key.floor_divide(counts_.size(1) * items_);
  return {(scene * items_ + key.remainder(items_)).masked_fill(none, 0), there};
}

UserContexts::Context UserContexts::evenly(const Tensor& user, const Tensor& wanted, const Tensor& left_out,
                                           int64_t length) const {
  const auto count = counts(user) * wanted;
  const auto total = count.sum(1, /*keepdim=*/true), kept = total.clamp_max(length);  // [n, 1]
  const auto step = steps(kept);
  const auto place = places((step * total).floor_divide(kept.clamp_min(1)), user, count);
  const auto there = step < kept;
  return items_at(place, left_out.defined() ? there.logical_and(place.ne(left_out.unsqueeze(1))) : there);
}

UserContexts::Context UserContexts::sample(const Tensor& user, const Tensor& wanted, const Tensor& left_out,
                                           int64_t length, double masked) const {
  const auto count = counts(user) * wanted;
  auto total = count.sum(1, /*keepdim=*/true);  // [n, 1]
  if (left_out.defined()) total = total - left_out.ge(0).unsqueeze(1).to(torch::kInt64);
  const auto hidden = (total * masked + uniform(total.sizes())).floor().to(torch::kInt64);
  const auto kept = (total - hidden).clamp_max(length), parts = kept.clamp_min(1);
  const auto step = steps(kept);
  // One of each of `kept` parts of the list, which starts anywhere: no entry twice, every one alike.
  const auto first = (step * total).floor_divide(parts), next = ((step + 1) * total).floor_divide(parts);
  const auto turn = (uniform(total.sizes()) * total).to(torch::kInt64);
  const auto position = first + (uniform(first.sizes()) * (next - first)).to(torch::kInt64) + turn;
  auto place = places(position.remainder(total.clamp_min(1)), user, count);
  if (left_out.defined()) {
    const auto pair = left_out.unsqueeze(1);
    place = place + pair.ge(0).logical_and(place.ge(pair)).to(torch::kInt64);
  }
  return items_at(place, step < kept);
}

}  // namespace polyscene::models
