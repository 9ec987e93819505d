#pragma once

#include <torch/torch.h>

#include <limits>
#include <string>
#include <vector>

namespace polyscene::eval {

/// A metric, or NaN and the reason why it is undefined ("one class", "no rows", ...).
struct Value {
  double value = std::numeric_limits<double>::quiet_NaN();
  std::string reason;  ///< empty when the value is defined

  bool defined() const { return reason.empty(); }
};

/// Weighted counts of predictions against labels.
struct Confusion {
  double true_positive = 0, false_positive = 0, true_negative = 0, false_negative = 0;

  Value accuracy() const;   ///< "no rows"
  Value precision() const;  ///< "no positive predictions": NaN as with scikit-learn's zero_division=nan, never 0 or 1
  Value recall() const;     ///< "no positive labels"
  Value f1() const;         ///< 2 TP / (2 TP + FP + FN); "no positives" when nothing is or is called positive
};

/// Points of a ROC curve, from (0, 0) to (1, 1).
struct Roc {
  std::vector<double> false_positive_rate, true_positive_rate;
  std::vector<double> threshold;  ///< smallest logit that is called positive; infinity at (0, 0)
  std::string reason;             ///< why there is no curve
};

/// Reliability of predicted probabilities, in bins of equal width; empty bins hold NaN.
struct Calibration {
  std::vector<double> predicted;  ///< mean probability of each bin
  std::vector<double> observed;   ///< mean label of each bin
  std::vector<double> weight;     ///< rows (or their weights) of each bin
  Value error;                    ///< expected calibration error: mean |predicted - observed| by weight
};

// All functions below take float32 or float64 `logits` [N], `label` [N] and an undefined or non-negative `weight` [N];
// classification labels are positive above 0.5. Sums are in float64. Throws ValueError for other shapes, NaN (naming
// the row) and negative weights.

/// P(score of a positive > score of a negative) + P(equal) / 2; "one class" when either is absent.
Value auc(const torch::Tensor& logits, const torch::Tensor& label, const torch::Tensor& weight = {});

/// sum_u n_u AUC_u / sum_u n_u over users with both classes, n_u rows (or their weights); negative users are left out.
/// user int64 [N]. "no user with both classes" when none is left.
Value gauc(const torch::Tensor& logits, const torch::Tensor& label, const torch::Tensor& user,
           const torch::Tensor& weight = {});

/// Mean of -log p(label), from logits without overflow.
Value log_loss(const torch::Tensor& logits, const torch::Tensor& label, const torch::Tensor& weight = {});

/// Counts with rows called positive when sigmoid(logit) >= threshold.
Confusion confusion(const torch::Tensor& logits, const torch::Tensor& label, double threshold = 0.5,
                    const torch::Tensor& weight = {});

/// Root of the mean squared error and mean absolute error of predictions.
Value rmse(const torch::Tensor& predictions, const torch::Tensor& label, const torch::Tensor& weight = {});
Value mae(const torch::Tensor& predictions, const torch::Tensor& label, const torch::Tensor& weight = {});

/// Of the items among the rows, the share that is called positive at least once: sigmoid(logit) >= threshold.
/// item int64 [N]; negative items are left out.
Value coverage(const torch::Tensor& logits, const torch::Tensor& item, double threshold = 0.5);

/// The threshold on the probability with the largest F1, halfway to the next smaller one; to be chosen on validation
/// data. "no positive labels" when F1 is 0 everywhere.
Value best_threshold(const torch::Tensor& logits, const torch::Tensor& label, const torch::Tensor& weight = {});

/// Corners of the ROC curve, at most `points` (evenly thinned out when there are more).
Roc roc(const torch::Tensor& logits, const torch::Tensor& label, const torch::Tensor& weight = {},
        int64_t points = 200);

/// Bin i holds the probabilities in (i / bins, (i + 1) / bins], the first one 0 too.
Calibration calibration(const torch::Tensor& logits, const torch::Tensor& label, const torch::Tensor& weight = {},
                        int64_t bins = 10);

}  // namespace polyscene::eval
