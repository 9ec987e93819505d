#include "polyscene/models/cross/item_prior.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>

#include "polyscene/models/ease_weights.h"

namespace polyscene::models {

using torch::Tensor;

ItemPrior::ItemPrior(const data::Interactions& known, double l2) : places_(known.scenes() * known.items()) {
  std::vector<int64_t> keys;
  std::vector<float> values;
  for (int64_t s = 0; s < known.scenes(); ++s) {
    const auto& pairs = known.scene(s);
    const EaseWeights weights(pairs, l2);
    const auto n = pairs.candidates.numel();
    const auto* candidate = pairs.candidates.const_data_ptr<int64_t>();
    std::vector<std::vector<std::pair<int64_t, float>>> kept(n);
    at::parallel_for(0, n, 16, [&](int64_t begin, int64_t end) {
      std::vector<float> row, scratch;
      std::vector<int64_t> order;
      for (int64_t c = begin; c < end; ++c) {
        row.assign(known.items(), 0.f);
        weights.add(torch::full({1}, candidate[c], torch::kInt64), row.data(), scratch);
        order.clear();
        for (int64_t j = 0; j < n; ++j) {
          if (j != c && row[candidate[j]] > 0) order.push_back(candidate[j]);
        }
        const auto most = std::min<size_t>(order.size(), kKept);
        std::partial_sort(order.begin(), order.begin() + most, order.end(),
                          [&](int64_t a, int64_t b) { return std::pair(-row[a], a) < std::pair(-row[b], b); });
        order.resize(most);
        std::sort(order.begin(), order.end());
        for (const auto j : order) kept[c].emplace_back(j, row[j]);
      }
    });
    for (int64_t c = 0; c < n; ++c) {
      for (const auto& [j, weight] : kept[c]) {
        keys.push_back((s * known.items() + candidate[c]) * places_ + s * known.items() + j);
        values.push_back(weight);
      }
    }
  }
  keys_ = torch::tensor(keys, torch::kInt64);
  values_ = torch::tensor(values, torch::kFloat32);
}

Tensor ItemPrior::between(const Tensor& place, const Tensor& there) const {
  const auto n = place.size(0), length = place.size(1);
  if (!keys_.defined() || keys_.numel() == 0) return torch::zeros({n, length, length});
  const auto key = (place.unsqueeze(2) * places_ + place.unsqueeze(1)).contiguous();  // [n, L, L]
  const auto at = torch::searchsorted(keys_, key).clamp_max(keys_.numel() - 1).flatten();
  const auto found = keys_.index_select(0, at).view(key.sizes()).eq(key);
  const auto both = found.logical_and(there.unsqueeze(2)).logical_and(there.unsqueeze(1));
  return values_.index_select(0, at).view(key.sizes()).masked_fill(both.logical_not(), 0);
}

}  // namespace polyscene::models
