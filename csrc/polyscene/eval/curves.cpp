#include <algorithm>
#include <cmath>

#include "polyscene/eval/metrics.h"
#include "polyscene/eval/rows.h"

namespace polyscene::eval {

using torch::Tensor;

Value best_threshold(const Tensor& logits, const Tensor& label, const Tensor& weight) {
  const Rows rows(logits, label, weight);
  if (rows.count == 0) return undefined("no rows");
  double positives = 0;
  for (int64_t i = 0; i < rows.count; ++i) positives += rows.positive(i) ? rows.weight(i) : 0;
  if (positives == 0) return undefined("no positive labels");
  const auto& order = rows.order();
  double best = -1, threshold = 0, called = 0, right = 0;
  for (int64_t i = rows.count; i > 0;) {
    const double p = sigmoid(rows.score[order[i - 1]]);
    double next = 0;
    for (; i > 0; --i) {
      const auto row = order[i - 1];
      // Far from zero several logits share one probability.
      if ((next = sigmoid(rows.score[row])) != p) break;
      called += rows.weight(row);
      if (rows.positive(row)) right += rows.weight(row);
    }
    if (i == 0) next = 0;
    if (const double f1 = 2 * right / (called + positives); f1 > best) {
      best = f1;
      const double middle = (p + next) / 2;
      threshold = middle > next ? middle : p;
    }
  }
  return {threshold, ""};
}

Roc roc(const Tensor& logits, const Tensor& label, const Tensor& weight, int64_t points) {
  TORCH_CHECK_VALUE(points >= 2, "metrics: a ROC curve needs at least 2 points, got ", points);
  const Rows rows(logits, label, weight);
  const auto& order = rows.order();
  Roc out;
  auto &fp = out.false_positive_rate, &tp = out.true_positive_rate, &at = out.threshold;
  fp = {0}, tp = {0}, at = {std::numeric_limits<double>::infinity()};
  for (int64_t i = rows.count; i > 0;) {
    const double score = rows.score[order[i - 1]];
    double x = fp.back(), y = tp.back();
    for (; i > 0 && rows.score[order[i - 1]] == score; --i) {
      (rows.positive(order[i - 1]) ? y : x) += rows.weight(order[i - 1]);
    }
    // A point that continues the last straight piece replaces its end.
    const auto n = fp.size();
    if (n >= 2 && (fp[n - 1] - fp[n - 2]) * (y - tp[n - 1]) == (tp[n - 1] - tp[n - 2]) * (x - fp[n - 1])) {
      fp.pop_back(), tp.pop_back(), at.pop_back();
    }
    fp.push_back(x), tp.push_back(y), at.push_back(score);
  }
  const double negatives = fp.back(), positives = tp.back();
  if (negatives == 0 || positives == 0) {
    Roc none;
    none.reason = rows.count == 0 ? "no rows" : "one class";
    return none;
  }
  const auto all = static_cast<int64_t>(fp.size()), kept = std::min(all, points);
  for (int64_t k = 0; k < kept; ++k) {
    const auto from = static_cast<int64_t>(std::llround(static_cast<double>(k) * (all - 1) / (kept - 1)));
    fp[k] = fp[from] / negatives;
    tp[k] = tp[from] / positives;
    at[k] = at[from];
  }
  for (auto* values : {&fp, &tp, &at}) values->resize(kept);
  return out;
}

Calibration calibration(const Tensor& logits, const Tensor& label, const Tensor& weight, int64_t bins) {
  TORCH_CHECK_VALUE(bins > 0, "metrics: bins must be positive, got ", bins);
  const Rows rows(logits, label, weight);
  Calibration out{std::vector<double>(bins), std::vector<double>(bins), std::vector<double>(bins), {}};
  const double step = 1 / static_cast<double>(bins);
  for (int64_t i = 0; i < rows.count; ++i) {
    const double p = sigmoid(rows.score[i]), w = rows.weight(i);
    auto bin = std::clamp<int64_t>(static_cast<int64_t>(p * static_cast<double>(bins)), 0, bins - 1);
    while (bin > 0 && p <= static_cast<double>(bin) * step) --bin;
    while (bin + 1 < bins && p > static_cast<double>(bin + 1) * step) ++bin;
    out.predicted[bin] += w * p;
    out.observed[bin] += rows.positive(i) ? w : 0;
    out.weight[bin] += w;
  }
  double total = 0, error = 0;
  for (int64_t bin = 0; bin < bins; ++bin) {
    total += out.weight[bin];
    error += std::abs(out.predicted[bin] - out.observed[bin]);
    out.predicted[bin] /= out.weight[bin];  // NaN when the bin is empty
    out.observed[bin] /= out.weight[bin];
  }
  out.error = ratio(error, total, rows.count == 0 ? "no rows" : "no weight");
  return out;
}

}  // namespace polyscene::eval
