#include "polyscene/models/graphs.h"

#include <cmath>

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

}  // namespace polyscene::models
