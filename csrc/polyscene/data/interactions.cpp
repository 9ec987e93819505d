#include "polyscene/data/interactions.h"

#include <algorithm>

#include "polyscene/data/schema.h"
#include "polyscene/data/table.h"

namespace polyscene::data {
namespace {

// Offsets, codes on the other side and rows with a pair, from pairs a * width + b that are ascending without repeats.
struct Side {
  torch::Tensor offsets, codes, present;
};

Side side_of(const std::vector<int64_t>& pairs, int64_t rows, int64_t width) {
  Side out{
      torch::zeros({rows + 1}, torch::kInt64), torch::empty({static_cast<int64_t>(pairs.size())}, torch::kInt32), {}};
  auto* offset = out.offsets.data_ptr<int64_t>();
  auto* code = out.codes.data_ptr<int32_t>();
  for (size_t i = 0; i < pairs.size(); ++i) {
    ++offset[pairs[i] / width + 1];
    code[i] = static_cast<int32_t>(pairs[i] % width);
  }
  for (int64_t r = 0; r < rows; ++r) offset[r + 1] += offset[r];
  out.present = out.offsets.diff().nonzero().squeeze(1);
  return out;
}

// `pairs` holds user * items + item.
Interactions::Scene scene_of(std::vector<int64_t> pairs, int64_t users, int64_t items) {
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  Interactions::Scene out;
  const auto by_user = side_of(pairs, users, items);
  out.user_offsets = by_user.offsets;
  out.items = by_user.codes;
  out.visitors = by_user.present;
  for (auto& pair : pairs) pair = pair % items * users + pair / items;
  std::sort(pairs.begin(), pairs.end());
  const auto by_item = side_of(pairs, items, users);
  out.item_offsets = by_item.offsets;
  out.users = by_item.codes;
  out.candidates = by_item.present;
  return out;
}

void check_rows(const char* what, const torch::Tensor& rows, int64_t count) {
  if (rows.numel() == 0) return;
  const auto [low, high] = rows.aminmax();
  TORCH_CHECK_INDEX(low.item<int64_t>() >= 0 && high.item<int64_t>() < count, "Interactions: ", what,
                    " must be in [0, ", count, "), got ", low.item<int64_t>(), " to ", high.item<int64_t>());
}

}  // namespace

const int32_t* Interactions::Scene::begin(int64_t user) const {
  return items.const_data_ptr<int32_t>() + user_offsets.const_data_ptr<int64_t>()[user];
}

const int32_t* Interactions::Scene::end(int64_t user) const {
  return items.const_data_ptr<int32_t>() + user_offsets.const_data_ptr<int64_t>()[user + 1];
}

bool Interactions::Scene::contains(int64_t user, int64_t item) const {
  return std::binary_search(begin(user), end(user), static_cast<int32_t>(item));
}

Interactions::Interactions(const Schema& schema, const torch::Tensor& user, const torch::Tensor& item,
                           const torch::Tensor& scene) {
  TORCH_CHECK_VALUE(schema.user >= 0 && schema.item >= 0,
                    "Interactions: the data must name a user and an item column, it has no ",
                    schema.user < 0 ? "user" : "item");
  const auto n = user.numel();
  TORCH_CHECK_VALUE(item.numel() == n && scene.numel() == n, "Interactions: user, item and scene must be as long, got ",
                    n, ", ", item.numel(), " and ", scene.numel());
  users_ = schema.categorical[schema.user].rows();
  items_ = schema.categorical[schema.item].rows();
  check_rows("user", user, users_);
  check_rows("item", item, items_);
  check_rows("scene", scene, schema.num_scenes());
  std::vector<std::vector<int64_t>> pairs(schema.num_scenes());
  const auto u = user.to(torch::kInt64).contiguous(), i = item.to(torch::kInt64).contiguous(),
             s = scene.to(torch::kInt64).contiguous();
  const auto *users = u.const_data_ptr<int64_t>(), *items = i.const_data_ptr<int64_t>(),
             *scenes = s.const_data_ptr<int64_t>();
  for (int64_t r = 0; r < n; ++r) {
    if (users[r] >= kFirstId && items[r] >= kFirstId) pairs[scenes[r]].push_back(users[r] * items_ + items[r]);
  }
  for (auto& mine : pairs) by_scene_.push_back(scene_of(std::move(mine), users_, items_));
}

std::shared_ptr<const Interactions> Interactions::of(const Table& table) {
  const auto& schema = table.schema();
  TORCH_CHECK_VALUE(schema.user >= 0 && schema.item >= 0,
                    "Interactions: the data must name a user and an item column, it has no ",
                    schema.user < 0 ? "user" : "item");
  return std::make_shared<Interactions>(schema, table.users(), table.items(), table.scenes());
}

int64_t Interactions::pairs() const {
  int64_t out = 0;
  for (const auto& scene : by_scene_) out += scene.pairs();
  return out;
}

Interactions::Scene Interactions::pooled() const {
  if (by_scene_.size() == 1) return by_scene_.front();
  std::vector<int64_t> pairs;
  pairs.reserve(this->pairs());
  for (const auto& scene : by_scene_) {
    const auto* offset = scene.user_offsets.const_data_ptr<int64_t>();
    const auto* item = scene.items.const_data_ptr<int32_t>();
    for (int64_t u = 0; u < users_; ++u) {
      for (auto j = offset[u]; j < offset[u + 1]; ++j) pairs.push_back(u * items_ + item[j]);
    }
  }
  return scene_of(std::move(pairs), users_, items_);
}

}  // namespace polyscene::data
