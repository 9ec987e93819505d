#include "polyscene/models/ease_weights.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "polyscene/models/inverse.h"

namespace polyscene::models {
namespace {

constexpr int64_t kMostInverted = 40'000;  // of the side that is inverted: 19 GB

torch::Tensor places(int64_t rows, const torch::Tensor& present) {
  return torch::full({rows}, -1, torch::kInt64).index_put_({present}, torch::arange(present.numel()));
}

// Of pairs (a, b): how many b each two a share, [n, n], for the a that are present.
torch::Tensor shared(const torch::Tensor& a_offsets, const torch::Tensor& a_codes, const torch::Tensor& b_offsets,
                     const torch::Tensor& b_codes, const torch::Tensor& present, const torch::Tensor& place) {
  const auto n = present.numel();
  auto out = torch::zeros({n, n});
  const auto *a = a_offsets.const_data_ptr<int64_t>(), *b = b_offsets.const_data_ptr<int64_t>(),
             *row = present.const_data_ptr<int64_t>(), *at = place.const_data_ptr<int64_t>();
  const auto *b_of = a_codes.const_data_ptr<int32_t>(), *a_of = b_codes.const_data_ptr<int32_t>();
  at::parallel_for(0, n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* to = out.data_ptr<float>() + i * n;
      for (auto j = a[row[i]]; j < a[row[i] + 1]; ++j) {
        for (auto k = b[b_of[j]]; k < b[b_of[j] + 1]; ++k) to[at[a_of[k]]] += 1;
      }
    }
  });
  return out;
}

}  // namespace

EaseWeights::EaseWeights(const data::Interactions::Scene& pairs, double l2) : pairs_(pairs), l2_(l2) {
  const torch::NoGradGuard no_grad;
  by_users_ = pairs.visitors.numel() < pairs.candidates.numel();
  const auto& present = by_users_ ? pairs.visitors : pairs.candidates;
  const auto n = present.numel(), items = pairs.item_offsets.numel() - 1, users = pairs.user_offsets.numel() - 1;
  TORCH_CHECK_VALUE(n <= kMostInverted, "EASE: inverts a matrix of the users or items, whichever are fewer: ", n,
                    " here, at most ", kMostInverted, " fit; light_gcn and bpr_mf have no such limit");
  place_ = places(by_users_ ? users : items, present);
  auto gram = by_users_ ? shared(pairs.user_offsets, pairs.items, pairs.item_offsets, pairs.users, present, place_)
                        : shared(pairs.item_offsets, pairs.users, pairs.user_offsets, pairs.items, present, place_);
  gram.diagonal().add_(l2);
  if (n > 0) inverse_ = inverse_of(std::move(gram));
  diagonal_ = torch::ones({items});
  auto* diagonal = diagonal_.data_ptr<float>();
  const auto* candidate = pairs.candidates.const_data_ptr<int64_t>();
  const auto* place = place_.const_data_ptr<int64_t>();
  const float* inverse = n > 0 ? inverse_.const_data_ptr<float>() : nullptr;
  const auto* offset = pairs.item_offsets.const_data_ptr<int64_t>();
  const auto* user = pairs.users.const_data_ptr<int32_t>();
  at::parallel_for(0, pairs.candidates.numel(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const auto i = candidate[c];
      double sum = 0;
      for (auto a = offset[i]; by_users_ && a < offset[i + 1]; ++a) {
        for (auto b = offset[i]; b < offset[i + 1]; ++b) sum += inverse[place[user[a]] * n + place[user[b]]];
      }
      diagonal[i] = by_users_ ? static_cast<float>((1 - sum) / l2) : inverse[c * n + c];
    }
  });
}

void EaseWeights::add(int64_t user, float* to, std::vector<float>& scratch) const {
  if (!inverse_.defined() || pairs_.degree(user) == 0) return;
  const auto n = inverse_.size(0), candidates = pairs_.candidates.numel();
  const auto* place = place_.const_data_ptr<int64_t>();
  const float* inverse = inverse_.const_data_ptr<float>();
  const float* diagonal = diagonal_.const_data_ptr<float>();
  const auto* candidate = pairs_.candidates.const_data_ptr<int64_t>();
  if (by_users_) {  // the user's row of K X
    scratch.assign(pairs_.item_offsets.numel() - 1, 0.f);
    const float* k = inverse + place[user] * n;
    const auto* visitor = pairs_.visitors.const_data_ptr<int64_t>();
    const auto* offset = pairs_.user_offsets.const_data_ptr<int64_t>();
    const auto* item = pairs_.items.const_data_ptr<int32_t>();
    for (int64_t v = 0; v < n; ++v) {
      for (auto i = offset[visitor[v]]; i < offset[visitor[v] + 1]; ++i) scratch[item[i]] += k[v];
    }
    for (int64_t c = 0; c < candidates; ++c) to[candidate[c]] -= scratch[candidate[c]] / diagonal[candidate[c]];
  } else {
    scratch.assign(n, 0.f);
    for (const auto* i = pairs_.begin(user); i != pairs_.end(user); ++i) {
      const float* p = inverse + place[*i] * n;
      for (int64_t c = 0; c < n; ++c) scratch[c] += p[c];
    }
    for (int64_t c = 0; c < n; ++c) to[candidate[c]] -= scratch[c] / diagonal[candidate[c]];
  }
  for (const auto* i = pairs_.begin(user); i != pairs_.end(user); ++i) to[*i] += 1;
}

void EaseWeights::add(const torch::Tensor& met, float* to, std::vector<float>& scratch) const {
  if (!inverse_.defined()) return;
  const auto n = inverse_.size(0), candidates = pairs_.candidates.numel();
  const auto* place = place_.const_data_ptr<int64_t>();
  const float* inverse = inverse_.const_data_ptr<float>();
  const float* diagonal = diagonal_.const_data_ptr<float>();
  const auto* candidate = pairs_.candidates.const_data_ptr<int64_t>();
  const auto* offset = pairs_.item_offsets.const_data_ptr<int64_t>();
  std::vector<int64_t> items;
  for (int64_t j = 0; j < met.numel(); ++j) {
    const auto item = met.const_data_ptr<int64_t>()[j];
    if (offset[item] < offset[item + 1]) items.push_back(item);
  }
  if (items.empty()) return;
  if (by_users_) {  // x P = (x - x X' K X) / l2, where x X' is 0 but for a few users
    std::vector<float> met_by(n, 0.f), k(n, 0.f);
    for (const auto item : items) {
      for (auto a = offset[item]; a < offset[item + 1]; ++a) {
        met_by[place[pairs_.users.const_data_ptr<int32_t>()[a]]] += 1;
      }
    }
    for (int64_t u = 0; u < n; ++u) {
      if (met_by[u] == 0) continue;
      const float* row = inverse + u * n;
      for (int64_t v = 0; v < n; ++v) k[v] += met_by[u] * row[v];
    }
    scratch.assign(pairs_.item_offsets.numel() - 1, 0.f);
    const auto* visitor = pairs_.visitors.const_data_ptr<int64_t>();
    const auto* row = pairs_.user_offsets.const_data_ptr<int64_t>();
    const auto* in_row = pairs_.items.const_data_ptr<int32_t>();
    for (int64_t v = 0; v < n; ++v) {
      for (auto i = row[visitor[v]]; i < row[visitor[v] + 1]; ++i) scratch[in_row[i]] -= k[v];
    }
    for (const auto item : items) scratch[item] += 1;
    const auto less = static_cast<float>(1 / l2_);
    for (int64_t c = 0; c < candidates; ++c) to[candidate[c]] -= scratch[candidate[c]] * less / diagonal[candidate[c]];
  } else {
    scratch.assign(n, 0.f);
    for (const auto item : items) {
      const float* p = inverse + place[item] * n;
      for (int64_t c = 0; c < n; ++c) scratch[c] += p[c];
    }
    for (int64_t c = 0; c < n; ++c) to[candidate[c]] -= scratch[c] / diagonal[candidate[c]];
  }
  for (const auto item : items) to[item] += 1;
}

}  // namespace polyscene::models
