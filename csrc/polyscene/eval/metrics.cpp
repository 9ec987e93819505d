#include "polyscene/eval/metrics.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>
#include <vector>

#include "polyscene/eval/rows.h"

namespace polyscene::eval {
namespace {

using torch::Tensor;

// sum_i w_i f(i) / sum_i w_i
template <typename F>
Value weighted_mean(const Rows& rows, F&& f) {
  double sum = 0, total = 0;
  for (int64_t i = 0; i < rows.count; ++i) {
    // A row without weight must not turn 0 * infinity into NaN.
    if (const double w = rows.weight(i); w > 0) {
      sum += w * f(i);
      total += w;
    }
  }
  return ratio(sum, total, rows.count == 0 ? "no rows" : "no weight");
}

struct Area {
  double value, positives, negatives;
};

// Area under the curve of the rows order[begin:end], ascending in score; ties count one half.
Area area(const Rows& rows, const std::vector<uint32_t>& order, int64_t begin, int64_t end) {
  double sum = 0, positives = 0, negatives = 0;
  for (int64_t i = begin; i < end;) {
    const double score = rows.score[order[i]];
    double tied_positive = 0, tied_negative = 0;
    for (; i < end && rows.score[order[i]] == score; ++i) {
      (rows.positive(order[i]) ? tied_positive : tied_negative) += rows.weight(order[i]);
    }
    sum += tied_positive * (negatives + tied_negative / 2);
    positives += tied_positive;
    negatives += tied_negative;
  }
  return {sum / (positives * negatives), positives, negatives};
}

}  // namespace

Value auc(const Rows& rows) {
  if (rows.count == 0) return undefined("no rows");
  const auto found = area(rows, rows.order(), 0, rows.count);
  return found.positives > 0 && found.negatives > 0 ? Value{found.value, ""} : undefined("one class");
}

Value gauc(const Rows& rows, const Tensor& user) {
  if (rows.count == 0) return undefined("no rows");
  const auto held = user.to(torch::kCPU, torch::kInt64).contiguous();
  const auto* users = held.const_data_ptr<int64_t>();
  auto order = rows.order();
  std::stable_sort(order.begin(), order.end(), [users](uint32_t a, uint32_t b) { return users[a] < users[b]; });
  std::vector<std::pair<double, double>> parts;  // of each user: weight times AUC, weight
  for (int64_t begin = 0, end; begin < rows.count; begin = end) {
    for (end = begin; end < rows.count && users[order[end]] == users[order[begin]];) ++end;
    if (users[order[begin]] < 0) continue;
    const auto found = area(rows, order, begin, end);
    if (found.positives == 0 || found.negatives == 0) continue;
    const double counts = found.positives + found.negatives;
    parts.emplace_back(counts * found.value, counts);
  }
  // In an order of their own, so that the last digit does not depend on how users are numbered.
  std::sort(parts.begin(), parts.end());
  double sum = 0, total = 0;
  for (const auto& [above, below] : parts) {
    sum += above;
    total += below;
  }
  return ratio(sum, total, "no user with both classes");
}

Value log_loss(const Rows& rows) {
  const auto* each = rows.losses();
  return weighted_mean(rows, [&](int64_t i) { return each[i]; });
}

Confusion confusion(const Rows& rows, double threshold) {
  TORCH_CHECK_VALUE(threshold >= 0 && threshold <= 1, "metrics: threshold must lie in [0, 1], got ", threshold);
  Confusion out;
  for (int64_t i = 0; i < rows.count; ++i) {
    const bool called = sigmoid(rows.score[i]) >= threshold;
    auto& cell = called ? (rows.positive(i) ? out.true_positive : out.false_positive)
                        : (rows.positive(i) ? out.false_negative : out.true_negative);
    cell += rows.weight(i);
  }
  return out;
}

Value Confusion::accuracy() const {
  const double right = true_positive + true_negative;
  return ratio(right, right + false_positive + false_negative, "no rows");
}

Value Confusion::precision() const {
  return ratio(true_positive, true_positive + false_positive, "no positive predictions");
}

Value Confusion::recall() const { return ratio(true_positive, true_positive + false_negative, "no positive labels"); }

Value Confusion::f1() const {
  return ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative, "no positives");
}

Value coverage(const Rows& rows, const Tensor& item, double threshold) {
  const auto held = item.to(torch::kCPU, torch::kInt64).contiguous();
  const auto* items = held.const_data_ptr<int64_t>();
  std::unordered_map<int64_t, bool> called;
  for (int64_t i = 0; i < rows.count; ++i) {
    if (items[i] >= 0) called[items[i]] |= sigmoid(rows.score[i]) >= threshold;
  }
  const auto hits = std::count_if(called.begin(), called.end(), [](const auto& entry) { return entry.second; });
  return ratio(static_cast<double>(hits), static_cast<double>(called.size()), rows.count == 0 ? "no rows" : "no items");
}

Value rmse(const Rows& rows) {
  auto mean = weighted_mean(rows, [&](int64_t i) {
    const double error = rows.score[i] - rows.label[i];
    return error * error;
  });
  mean.value = std::sqrt(mean.value);
  return mean;
}

Value mae(const Rows& rows) {
  return weighted_mean(rows, [&](int64_t i) { return std::abs(rows.score[i] - rows.label[i]); });
}

Value auc(const Tensor& logits, const Tensor& label, const Tensor& weight) { return auc(Rows(logits, label, weight)); }

Value gauc(const Tensor& logits, const Tensor& label, const Tensor& user, const Tensor& weight) {
  const Rows rows(logits, label, weight);
  check_column("user", user, rows.count);
  return gauc(rows, user);
}

Value log_loss(const Tensor& logits, const Tensor& label, const Tensor& weight) {
  return log_loss(Rows(logits, label, weight));
}

Confusion confusion(const Tensor& logits, const Tensor& label, double threshold, const Tensor& weight) {
  return confusion(Rows(logits, label, weight), threshold);
}

Value coverage(const Tensor& logits, const Tensor& item, double threshold) {
  check_column("item", item, logits.numel());
  return coverage(Rows(logits, item, {}), item, threshold);
}

Value rmse(const Tensor& predictions, const Tensor& label, const Tensor& weight) {
  return rmse(Rows(predictions, label, weight));
}

Value mae(const Tensor& predictions, const Tensor& label, const Tensor& weight) {
  return mae(Rows(predictions, label, weight));
}

}  // namespace polyscene::eval
