#pragma once

#include <torch/torch.h>

#include <vector>

namespace polyscene::train {

/// Gradient of the looked-up rows of a table.
struct RowGradient {
  torch::Tensor rows;    ///< int64 [U], ascending, no repeats
  torch::Tensor values;  ///< [U, D]
};

/// Rows of a coalesced sparse gradient; of a dense one the rows that are not all zero.
RowGradient row_gradient(const torch::Tensor& gradient);

/// What the row updates share. All tensors below are contiguous on the CPU, of one type.
struct RowStep {
  double lr = 0;
  double weight_decay = 0;  ///< L2 on the rows of the gradient
};

/// Adam on some rows: m += (1 - b1)(g - m), v = b2 v + (1 - b2) g^2, w -= lr (m / c1) / (sqrt(v / c2) + eps) with
/// c = 1 - b^t, t = steps[row] after counting this one, or `global_step` when `steps` is undefined.
class RowAdam {
 public:
  RowAdam(double beta1, double beta2, double eps) : beta1_(beta1), beta2_(beta2), eps_(eps) {}
  /// Shapes: weight, mean, square [V, D], steps int32 [V] or undefined; no row has more steps than `global_step`.
  void operator()(const RowGradient& gradient, const RowStep& step, const torch::Tensor& weight,
                  const torch::Tensor& mean, const torch::Tensor& square, const torch::Tensor& steps,
                  int64_t global_step);

 private:
  double beta1_, beta2_, eps_;
  std::vector<double> first_, second_;  // 1 / c1 and 1 / sqrt(c2) by step, grown as steps come
};

/// w -= lr b with b = momentum b + g, or w -= lr g without momentum (`buffer` [V, D] or undefined).
void row_sgd(const RowGradient& gradient, const RowStep& step, double momentum, const torch::Tensor& weight,
             const torch::Tensor& buffer);

/// a += mean_d g_d^2, w -= lr g / (sqrt(a) + eps); one `accumulator` a row, [V].
void row_adagrad(const RowGradient& gradient, const RowStep& step, double eps, const torch::Tensor& weight,
                 const torch::Tensor& accumulator);

/// Sum of squares in float64, the same bits for any number of threads; NaN or infinity when an entry is.
double sum_of_squares(const torch::Tensor& values);

}  // namespace polyscene::train
