#include "polyscene/transfer/distilled.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "polyscene/data/classes.h"
#include "polyscene/nn/alignment.h"
#include "polyscene/nn/dense.h"
#include "polyscene/transfer/drawn.h"

namespace polyscene::transfer {
namespace {

constexpr double kNever = -1e4;  // for places of a scene that has fewer items: a share of 0

}  // namespace

double prior_shift(double from, double to) {
  TORCH_CHECK_VALUE(from > 0 && from < 1 && to > 0 && to < 1,
                    "prior_shift: shares of positive labels must lie in (0, 1), got ", from, " and ", to);
  return std::log(to / (1 - to)) - std::log(from / (1 - from));
}

Distilled::Distilled(std::shared_ptr<models::Model> inner, std::vector<std::shared_ptr<models::Model>> teachers,
                     DistilledOptions options_, const std::optional<data::Table>& sample)
    : Wrapped(std::move(inner)), options(std::move(options_)), teachers_(std::move(teachers)) {
  TORCH_CHECK_VALUE(!teachers_.empty(), "Distilled: there must be a teacher, got none");
  TORCH_CHECK_VALUE(std::isfinite(options.temperature()) && options.temperature() > 0,
                    "Distilled: temperature must be positive, got ", options.temperature());
  TORCH_CHECK_VALUE(options.share() >= 0 && options.share() <= 1, "Distilled: share must lie in [0, 1], got ",
                    options.share());
  TORCH_CHECK_VALUE(std::isfinite(options.features()) && options.features() >= 0,
                    "Distilled: features must be finite and not negative, got ", options.features());
  weights_ = options.weights().empty() ? std::vector<double>(teachers_.size(), 1.0) : options.weights();
  const auto sum = std::accumulate(weights_.begin(), weights_.end(), 0.0);
  TORCH_CHECK_VALUE(weights_.size() == teachers_.size() && std::isfinite(sum) && sum > 0 &&
                        *std::min_element(weights_.begin(), weights_.end()) >= 0,
                    "Distilled: weights must be ", teachers_.size(), " numbers that are not negative, got ",
                    to_text(options.weights()));
  for (auto& weight : weights_) weight /= sum;
  TORCH_CHECK_VALUE(options.shifts().empty() || options.shifts().size() == teachers_.size(),
                    "Distilled: shifts must be one for each of ", teachers_.size(), " teachers, got ",
                    options.shifts().size());
  for (const auto& teacher : teachers_) {
    TORCH_CHECK_VALUE(teacher->schema().digest() == schema().digest(),
                      "Distilled: a teacher belongs to another schema than the model");
    teacher->eval();
  }
  if (options.features() == 0) return;
  TORCH_CHECK_VALUE(sample, "Distilled: features needs a table that shows how wide the hidden layers are");
  const auto mine = representation_width(*inner_, *sample), theirs = representation_width(*teachers_.front(), *sample);
  projection =
      register_module("distilled_projection", torch::nn::Linear(torch::nn::LinearOptions(mine, theirs).bias(false)));
  const torch::NoGradGuard no_grad;
  if (mine == theirs) projection->weight.copy_(torch::eye(mine));
}

void Distilled::prepare(const data::Table& train) {
  Wrapped::prepare(train);
  for (auto& teacher : teachers_) {
    if (!teacher->history()) teacher->set_history(history());
  }
}

int64_t Distilled::history_length() const {
  auto out = inner_->history_length();
  for (const auto& teacher : teachers_) out = std::max(out, teacher->history_length());
  return out;
}

// The row's item and its negatives as rows of their own, [B (1 + N)].
data::Batch Distilled::candidates(const data::Batch& batch) const {
  TORCH_CHECK_VALUE(schema().num_fields() == 2 && schema().numeric_width() == 0 && schema().lists.empty(),
                    "Distilled: rows of a ranking must hold a user, an item and a scene alone");
  TORCH_CHECK_VALUE(batch.negative.defined(), "Distilled: the batch has no negatives; the trainer draws them");
  const auto each = 1 + batch.negative.size(1), rows = batch.size();
  data::Batch out;
  out.user = batch.user.repeat_interleave(each);
  out.item = torch::cat({batch.item.unsqueeze(1), batch.negative}, 1).flatten();
  out.scene = batch.scene.repeat_interleave(each);
  out.categorical = torch::empty({rows * each, 2}, torch::kInt32);
  out.categorical.select(1, schema().user).copy_(out.user);
  out.categorical.select(1, schema().item).copy_(out.item);
  out.numeric = torch::empty({rows * each, 0});
  out.row = torch::arange(rows * each);
  out.schema_digest = batch.schema_digest;
  return out;
}

torch::Tensor Distilled::soft_loss(const data::Batch& batch) {
  const auto& task = schema().task;
  const auto rows = task == "ranking" ? candidates(batch) : batch;
  const auto shape = [&](const torch::Tensor& scores) {
    if (task == "sequence") return scores.masked_fill(scores.isinf(), kNever);
    return task == "ranking" ? scores.view({batch.size(), -1}) : scores;
  };
  const bool shares = task == "ranking" || task == "sequence" || data::has_classes(task);
  torch::Tensor target;
  {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < teachers_.size(); ++i) {
      auto given = shape(teachers_[i]->forward(rows));
      if (!options.shifts().empty()) given = given + options.shifts()[i];
      if (shares) given = (given / options.temperature()).softmax(1);
      if (task == "ctr") given = (given / options.temperature()).sigmoid();
      target = target.defined() ? target + weights_[i] * given : weights_[i] * given;
    }
  }
  const auto mine = shape(inner_->forward(rows));
  const auto lost = task == "rating" ? (mine - target).square()
                                     : nn::distillation(mine, target.to(mine.scalar_type()), options.temperature());
  return models::weighted_mean(lost, batch.weight);
}

torch::Tensor Distilled::loss(const data::Batch& batch) {
  torch::Tensor out, head;
  if (options.features() > 0) {
    const auto both = loss_and_head(*inner_, batch);
    out = both.loss;
    head = both.head;
  } else {
    out = inner_->loss(batch);
  }
  if (options.share() > 0) out = (1 - options.share()) * out + options.share() * soft_loss(batch);
  if (!head.defined()) return out;
  torch::Tensor hint;
  {
    const torch::NoGradGuard no_grad;
    hint = teachers_.front()->represent(batch);
  }
  return out + options.features() * (nn::dense(head, *projection) - hint).square().mean();
}

}  // namespace polyscene::transfer
