#include "polyscene/models/cross_ridge.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "polyscene/models/inverse.h"

namespace polyscene::models {
namespace {

constexpr int64_t kMostShared = 30'000;  // users in both: 7.2 GB while it is made

float scale(const data::Interactions::Scene& pairs, int64_t user) {
  const auto n = pairs.degree(user);
  return n > 0 ? static_cast<float>(1 / std::sqrt(static_cast<double>(n))) : 0.f;
}

}  // namespace

torch::Tensor mean_row(const data::Interactions::Scene& pairs, const torch::Tensor& users) {
  auto sum = torch::zeros({pairs.item_offsets.numel() - 1}, torch::kFloat64);
  auto* to = sum.data_ptr<double>();
  const auto* user = users.const_data_ptr<int64_t>();
  for (int64_t r = 0; r < users.numel(); ++r) {
    const double mine = scale(pairs, user[r]);
    for (const auto* i = pairs.begin(user[r]); i != pairs.end(user[r]); ++i) to[*i] += mine;
  }
  return (sum / static_cast<double>(std::max<int64_t>(users.numel(), 1))).to(torch::kFloat32);
}

CrossRidge::CrossRidge(const data::Interactions::Scene& source, const data::Interactions::Scene& target, double ridge)
    : source_(source), target_(target) {
  const torch::NoGradGuard no_grad;
  both_ = source.visitors.index_select(0, torch::isin(source.visitors, target.visitors).nonzero().squeeze(1));
  const auto n = both_.numel();
  TORCH_CHECK_VALUE(n <= kMostShared, "CrossEASE: inverts a matrix of the users of two scenes: ", n, " here, at most ",
                    kMostShared, " fit");
  place_ = torch::full({source.user_offsets.numel() - 1}, -1, torch::kInt64).index_put_({both_}, torch::arange(n));
  base_ = mean_row(target, both_);
  const auto* both = both_.const_data_ptr<int64_t>();
  for (int64_t v = 0; v < n; ++v) {
    source_scale_.push_back(scale(source, both[v]));
    target_scale_.push_back(scale(target, both[v]));
    item_.insert(item_.end(), target.begin(both[v]), target.end(both[v]));
    offset_.push_back(static_cast<int64_t>(item_.size()));
  }
  if (n == 0) return;
  auto gram = kernel(both_);
  gram.diagonal().add_(ridge);
  inverse_ = inverse_of(std::move(gram));
}

torch::Tensor CrossRidge::kernel(const torch::Tensor& users) const {
  const auto count = users.numel(), n = both_.numel();
  auto out = torch::zeros({count, n});
  const auto* user = users.const_data_ptr<int64_t>();
  const auto* place = place_.const_data_ptr<int64_t>();
  const auto* offset = source_.item_offsets.const_data_ptr<int64_t>();
  const auto* other = source_.users.const_data_ptr<int32_t>();
  float* first = out.data_ptr<float>();
  at::parallel_for(0, count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      float* to = first + u * n;
      const auto* last = source_.end(user[u]);
      for (const auto* i = source_.begin(user[u]); i != last; ++i) {
        for (auto j = offset[*i]; j < offset[*i + 1]; ++j) {
          if (place[other[j]] >= 0) to[place[other[j]]] += 1;
        }
      }
      const float mine = scale(source_, user[u]);
      for (int64_t v = 0; v < n; ++v) to[v] *= mine * source_scale_[v];
    }
  });
  return out;
}

torch::Tensor CrossRidge::weights(const torch::Tensor& users) const {
  const auto count = users.numel(), n = both_.numel();
  if (n == 0) return torch::zeros({count, 0});
  const torch::NoGradGuard no_grad;
  const auto at = place_.index_select(0, users);
  auto out = torch::empty({count, n});
  const auto fresh = at.lt(0).nonzero().squeeze(1);
  if (fresh.numel() > 0) out.index_copy_(0, fresh, torch::mm(kernel(users.index_select(0, fresh)), inverse_));
  const auto* place = at.const_data_ptr<int64_t>();
  const float* inverse = inverse_.const_data_ptr<float>();
  for (int64_t r = 0; r < count; ++r) {
    if (place[r] < 0) continue;
    float* to = out.data_ptr<float>() + r * n;
    const float* row = inverse + place[r] * n;
    for (int64_t v = 0; v < n; ++v) to[v] = -row[v] / row[place[r]];
    to[place[r]] = 0;
  }
  return out;
}

void CrossRidge::add(const float* weights, float times, float* to, int64_t user) const {
  const auto n = both_.numel(), candidates = target_.candidates.numel();
  const auto* item = item_.data();
  double total = 0;
  for (int64_t v = 0; v < n; ++v) {
    const float mine = times * weights[v] * target_scale_[v];
    total += weights[v];
    for (auto i = offset_[v]; i < offset_[v + 1]; ++i) to[item[i]] += mine;
  }
  const auto* candidate = target_.candidates.const_data_ptr<int64_t>();
  const float* base = base_.const_data_ptr<float>();
  const auto less = static_cast<float>(times * total);
  const auto own = user >= 0 ? place_.const_data_ptr<int64_t>()[user] : -1;
  if (own < 0 || n < 2) {
    for (int64_t c = 0; c < candidates; ++c) to[candidate[c]] -= less * base[candidate[c]];
    return;
  }
  // The mean of the other users: (n b - y_u) / (n - 1).
  const auto whole = less * static_cast<float>(n) / static_cast<float>(n - 1);
  const auto mine = less * scale(target_, user) / static_cast<float>(n - 1);
  for (int64_t c = 0; c < candidates; ++c) to[candidate[c]] -= whole * base[candidate[c]];
  for (const auto* i = target_.begin(user); i != target_.end(user); ++i) to[*i] += mine;
}

torch::Tensor CrossRidge::weights_by_item(int64_t user, const torch::Tensor& items) const {
  const auto m = items.numel(), n = both_.numel();
  auto kernel = torch::zeros({m, n});  // of each item alone
  if (m == 0 || n == 0) return kernel;
  const torch::NoGradGuard no_grad;
  const auto own = place_.const_data_ptr<int64_t>()[user];
  const auto mine = static_cast<float>(1 / std::sqrt(static_cast<double>(m)));
  const auto *offset = source_.item_offsets.const_data_ptr<int64_t>(), *place = place_.const_data_ptr<int64_t>();
  const auto* other = source_.users.const_data_ptr<int32_t>();
  for (int64_t j = 0; j < m; ++j) {
    const auto item = items.const_data_ptr<int64_t>()[j];
    for (auto a = offset[item]; a < offset[item + 1]; ++a) {
      const auto at = place[other[a]];
      if (at >= 0 && at != own) kernel.data_ptr<float>()[j * n + at] = mine * scale(source_, other[a]);
    }
  }
  auto out = torch::mm(kernel, inverse_);
  if (own >= 0) {  // the inverse without their row: C - c c' / C_uu
    const auto c = inverse_[own];
    out -= torch::outer(torch::mv(kernel, c), c / c[own]);
    out.select(1, own).zero_();
  }
  return out;
}

}  // namespace polyscene::models
