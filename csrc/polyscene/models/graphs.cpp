#include "polyscene/models/graphs.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace polyscene::models {

std::shared_ptr<const nn::SparseMatrix> bipartite(const data::Interactions::Scene& pairs, EdgeWeight weight,
                                                  bool loops) {
  const auto users = pairs.user_offsets.numel() - 1, items = pairs.item_offsets.numel() - 1;
  const auto degree = torch::cat({pairs.user_offsets.diff(), pairs.item_offsets.diff()});  // [U + I]
  const auto edges = loops ? degree + degree.gt(0) : degree;
  auto offsets = torch::zeros({users + items + 1}, torch::kInt64);
  offsets.slice(0, 1).copy_(edges.cumsum(0));
  const auto n = offsets[-1].item<int64_t>();
  auto columns = torch::empty({n}, torch::kInt32), values = torch::empty({n});
  const auto* d = edges.const_data_ptr<int64_t>();
  const auto* at = offsets.const_data_ptr<int64_t>();
  auto* column = columns.data_ptr<int32_t>();
  auto* value = values.data_ptr<float>();
  const auto fill = [&](int64_t node, const int32_t* begin, const int32_t* end, int64_t shift) {
    auto to = at[node];
    const auto put = [&](int64_t other) {
      column[to] = static_cast<int32_t>(other);
      value[to++] =
          weight == EdgeWeight::kMean
              ? static_cast<float>(1.0 / static_cast<double>(d[node]))
              : static_cast<float>(1 / std::sqrt(static_cast<double>(d[node]) * static_cast<double>(d[other])));
    };
    if (loops && begin != end) put(node);
    for (; begin != end; ++begin) put(*begin + shift);
  };
  const auto *by_user = pairs.items.const_data_ptr<int32_t>(), *by_item = pairs.users.const_data_ptr<int32_t>();
  const auto *user = pairs.user_offsets.const_data_ptr<int64_t>(), *item = pairs.item_offsets.const_data_ptr<int64_t>();
  for (int64_t u = 0; u < users; ++u) fill(u, by_user + user[u], by_user + user[u + 1], users);
  for (int64_t i = 0; i < items; ++i) fill(users + i, by_item + item[i], by_item + item[i + 1], 0);
  return std::make_shared<nn::SparseMatrix>(offsets, columns, values, users + items);
}

std::shared_ptr<const nn::SparseMatrix> followers(const data::History& history, const torch::Tensor& shared,
                                                  const torch::Tensor& own, int64_t nodes) {
  const auto users = history.offsets.numel() - 1, items = shared.numel(), scenes = own.numel() / items;
  const auto *at = history.offsets.const_data_ptr<int64_t>(), *scene = history.scene.const_data_ptr<int64_t>(),
             *everywhere = shared.const_data_ptr<int64_t>(), *there = own.const_data_ptr<int64_t>();
  const auto* item = history.item.const_data_ptr<int32_t>();
  std::vector<int64_t> steps, last(scenes);  // from * nodes + to
  const auto step = [&](int64_t& from, int64_t to) {
    if (to < 0) return;
    if (from >= 0) steps.push_back(from * nodes + to);
    from = to;
  };
  for (auto user = data::kFirstId; user < users; ++user) {
    int64_t newest = -1;
    std::fill(last.begin(), last.end(), -1);
    for (auto j = at[user]; j < at[user + 1]; ++j) {
      if (item[j] < data::kFirstId) continue;
      step(newest, everywhere[item[j]]);
      step(last[scene[j]], there[scene[j] * items + item[j]]);
    }
  }
  std::sort(steps.begin(), steps.end());
  std::vector<int64_t> offsets = {0};
  std::vector<int32_t> columns;
  std::vector<float> values;
  auto next = steps.begin();
  for (int64_t node = 0; node < nodes; ++node) {
    const auto first = next;
    next = std::lower_bound(next, steps.end(), (node + 1) * nodes);
    const auto all = static_cast<double>(next - first);
    for (auto each = first; each != next;) {
      const auto same = std::upper_bound(each, next, *each);
      columns.push_back(static_cast<int32_t>(*each - node * nodes));
      values.push_back(static_cast<float>(static_cast<double>(same - each) / all));
      each = same;
    }
    offsets.push_back(static_cast<int64_t>(columns.size()));
  }
  return std::make_shared<nn::SparseMatrix>(torch::tensor(offsets), torch::tensor(columns, torch::kInt32),
                                            torch::tensor(values), nodes);
}

}  // namespace polyscene::models
