#include "polyscene/eval/rows.h"

#include <cmath>

#include "polyscene/eval/order.h"

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
  point();
  for (int64_t i = 0; i < count; ++i) {
    TORCH_CHECK_VALUE(!std::isnan(score[i]), "metrics: the logit of row ", i, " is NaN; the model has diverged");
    TORCH_CHECK_VALUE(!std::isnan(label[i]), "metrics: the label of row ", i, " is NaN");
    TORCH_CHECK_VALUE(!weights || weights[i] >= 0, "metrics: the weight of row ", i, " must be >= 0, got ",
                      weights ? weights[i] : 0);
  }
}

void check_column(const char* name, const Tensor& column, int64_t rows) {
  TORCH_CHECK_VALUE(column.defined() && column.dim() == 1 && column.numel() == rows, "metrics: ", name,
                    " must have one entry per logit (", rows, "), got ", column.defined() ? column.numel() : 0);
}

void Rows::point() {
  count = held_scores_.numel();
  score = held_scores_.const_data_ptr<double>();
  label = held_labels_.const_data_ptr<double>();
  weights = held_weights_.defined() ? held_weights_.const_data_ptr<double>() : nullptr;
}

std::vector<Rows> Rows::split(const Tensor& positions, const std::vector<int64_t>& start) const {
  TORCH_INTERNAL_ASSERT(positions.numel() == count);
  std::vector<Rows> out;
  for (size_t part = 0; part + 1 < start.size(); ++part) {
    const auto mine = positions.slice(0, start[part], start[part + 1]);
    const auto of = [&](const Tensor& x) { return x.defined() ? x.index_select(0, mine) : x; };
    Rows rows;
    rows.held_scores_ = of(held_scores_);
    rows.held_labels_ = of(held_labels_);
    rows.held_weights_ = of(held_weights_);
    rows.held_losses_ = of(held_losses_);
    rows.point();
    out.push_back(std::move(rows));
  }
  if (order_.empty()) return out;
  // The order of a part is that of all rows without those of others.
  std::vector<uint32_t> owner(count), place(count);
  const auto* at = positions.const_data_ptr<int64_t>();
  for (size_t part = 0; part < out.size(); ++part) {
    out[part].order_.reserve(out[part].count);
    for (auto i = start[part]; i < start[part + 1]; ++i) {
      owner[at[i]] = static_cast<uint32_t>(part);
      place[at[i]] = static_cast<uint32_t>(i - start[part]);
    }
  }
  for (const auto row : order_) out[owner[row]].order_.push_back(place[row]);
  return out;
}

const std::vector<uint32_t>& Rows::order() const {
  if (order_.empty()) order_ = ascending_order(score, count);
  return order_;
}

const double* Rows::losses() const {
  if (!held_losses_.defined()) {
    const auto wrong = torch::where(held_labels_ > 0.5, -held_scores_, held_scores_);  // what should be far below 0
    held_losses_ = (wrong.clamp_min(0) + wrong.abs().neg_().exp_().log1p_()).contiguous();
  }
  return held_losses_.const_data_ptr<double>();
}

}  // namespace polyscene::eval
