#include "polyscene/eval/rows.h"

#include <cmath>

namespace polyscene::eval {
namespace {

using torch::Tensor;

Tensor as_double(const Tensor& values) { return values.detach().to(torch::kCPU, torch::kFloat64).contiguous(); }

}  // namespace

Rows::Rows(const Tensor& scores, const Tensor& labels, const Tensor& weight) {
  TORCH_CHECK_VALUE(scores.defined() && scores.dim() == 1 && scores.is_floating_point(),
                    "metrics: logits must be one floating point number per row, got ",
                    scores.defined() ? std::string(scores.toString()) : "nothing", " of ",
                    scores.defined() ? scores.dim() : 0, " dimensions");
  count = scores.numel();
  TORCH_CHECK_VALUE(labels.defined() && labels.dim() == 1 && labels.numel() == count,
                    "metrics: label must have one entry per logit (", count, "), got ",
                    labels.defined() ? labels.numel() : 0);
  TORCH_CHECK_VALUE(!weight.defined() || (weight.dim() == 1 && weight.numel() == count),
                    "metrics: weight must have one entry per logit (", count, "), got ",
                    weight.defined() ? weight.numel() : 0);
  TORCH_CHECK_VALUE(count < (int64_t{1} << 32), "metrics: fewer than 2^32 rows wanted, got ", count);
  held_scores_ = as_double(scores);
  held_labels_ = as_double(labels);
  if (weight.defined()) held_weights_ = as_double(weight);
  score = held_scores_.const_data_ptr<double>();
  label = held_labels_.const_data_ptr<double>();
  if (weight.defined()) weights = held_weights_.const_data_ptr<double>();
  for (int64_t i = 0; i < count; ++i) {
    TORCH_CHECK_VALUE(!std::isnan(score[i]), "metrics: the logit of row ", i, " is NaN; the model has diverged");
    TORCH_CHECK_VALUE(!std::isnan(label[i]), "metrics: the label of row ", i, " is NaN");
    TORCH_CHECK_VALUE(!weights || weights[i] >= 0, "metrics: the weight of row ", i, " must be >= 0, got ",
                      weights ? weights[i] : 0);
  }
}

}  // namespace polyscene::eval
