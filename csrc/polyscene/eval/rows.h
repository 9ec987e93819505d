#pragma once

#include <torch/torch.h>

#include <cmath>

#include "polyscene/eval/metrics.h"

namespace polyscene::eval {

/// Checked inputs of a metric as plain float64 arrays.
struct Rows {
  /// `weight` may be undefined. Throws ValueError for shapes that do not fit, NaN (naming the row) and negative
  /// weights.
  Rows(const torch::Tensor& scores, const torch::Tensor& labels, const torch::Tensor& weight);

  double weight(int64_t i) const { return weights ? weights[i] : 1; }
  bool positive(int64_t i) const { return label[i] > 0.5; }

  int64_t count = 0;
  const double* score = nullptr;
  const double* label = nullptr;
  const double* weights = nullptr;  ///< null: every row counts 1

 private:
  torch::Tensor held_scores_, held_labels_, held_weights_;
};

inline Value undefined(const char* reason) { return {std::numeric_limits<double>::quiet_NaN(), reason}; }

/// above / below, undefined for `reason` when nothing is below.
inline Value ratio(double above, double below, const char* reason) {
  return below > 0 ? Value{above / below, ""} : undefined(reason);
}

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace polyscene::eval
