#include "polyscene/data/user_batches.h"

#include <algorithm>

#include "polyscene/core/random.h"

namespace polyscene::data {

UserBatches::UserBatches(const Schema& schema, torch::Tensor users, int64_t size, uint64_t seed, int64_t epoch)
    : schema_(schema), users_(std::move(users)), size_(size) {
  order_ = permutation(users_.numel(), RandomStream(seed, "users", static_cast<uint64_t>(epoch)));
}

std::optional<Batch> UserBatches::next() {
  const auto count = std::min<int64_t>(size_, static_cast<int64_t>(order_.size()) - position_);
  if (count <= 0) return std::nullopt;
  Batch out;
  out.row = torch::tensor(at::ArrayRef<int64_t>(order_.data() + position_, count), torch::kInt64);
  out.user = users_.index_select(0, out.row);
  out.item = torch::zeros_like(out.user);
  out.scene = torch::zeros_like(out.user);
  out.categorical = torch::zeros({count, schema_.num_fields()}, torch::kInt32);
  out.categorical.select(1, schema_.user).copy_(out.user);
  out.numeric = torch::zeros({count, schema_.numeric_width()});
  out.schema_digest = schema_.digest();
  position_ += count;
  return out;
}

}  // namespace polyscene::data
