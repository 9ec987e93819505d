#pragma once

#include <torch/torch.h>

#include <cmath>
#include <vector>

#include "polyscene/eval/metrics.h"

namespace polyscene::eval {

/// Checked inputs of a metric as plain float64 arrays, and what several metrics need of them, found once.
class Rows {
 public:
  /// `weight` may be undefined. Throws ValueError for shapes that do not fit, NaN (naming the row) and negative
  /// weights.
  Rows(const torch::Tensor& scores, const torch::Tensor& labels, const torch::Tensor& weight);

  /// Rows positions[start[i]:start[i + 1]] for each i: all rows, ascending within a part. What was found of all rows is
  /// not looked for again.
  std::vector<Rows> split(const torch::Tensor& positions, const std::vector<int64_t>& start) const;
  /// Positions from the smallest score to the largest. Two threads must not be the first to ask.
  const std::vector<uint32_t>& order() const;
  /// -log p(label) of each row. Two threads must not be the first to ask.
  const double* losses() const;

  double weight(int64_t i) const { return weights ? weights[i] : 1; }
  bool positive(int64_t i) const { return label[i] > 0.5; }

  int64_t count = 0;
  const double* score = nullptr;
  const double* label = nullptr;
  const double* weights = nullptr;  ///< null: every row counts 1

 private:
  Rows() = default;
  void point();

  torch::Tensor held_scores_, held_labels_, held_weights_;
  mutable torch::Tensor held_losses_;    // undefined until somebody asks
  mutable std::vector<uint32_t> order_;  // empty until somebody asks
};

/// Throws ValueError unless the column has one entry a row.
void check_column(const char* name, const torch::Tensor& column, int64_t rows);

inline Value undefined(const char* reason) { return {std::numeric_limits<double>::quiet_NaN(), reason}; }

/// above / below, undefined for `reason` when nothing is below.
inline Value ratio(double above, double below, const char* reason) {
  return below > 0 ? Value{above / below, ""} : undefined(reason);
}

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// The metrics of metrics.h on rows that are checked already; users and items have one entry a row.
Value auc(const Rows& rows);
Value gauc(const Rows& rows, const torch::Tensor& user);
Value log_loss(const Rows& rows);
Confusion confusion(const Rows& rows, double threshold);
Value coverage(const Rows& rows, const torch::Tensor& item, double threshold);
Value rmse(const Rows& rows);
Value mae(const Rows& rows);

}  // namespace polyscene::eval
