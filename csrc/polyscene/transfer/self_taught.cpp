#include "polyscene/transfer/self_taught.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/named_tensors.h"
#include "polyscene/data/classes.h"
#include "polyscene/nn/losses.h"

namespace polyscene::transfer {
namespace {

constexpr int32_t kMissing = 1;  // the row of every vocabulary for a cell without a value

void check_weight(const char* owner, double weight, int64_t ramp) {
  TORCH_CHECK_VALUE(std::isfinite(weight) && weight >= 0, owner, ": weight must be finite and not negative, got ",
                    weight);
  TORCH_CHECK_VALUE(ramp > 0, owner, ": ramp must be positive, got ", ramp);
}

}  // namespace

double ramped(double weight, int64_t step, int64_t ramp) {
  const auto left = 1 - std::min(static_cast<double>(step) / static_cast<double>(ramp), 1.0);
  return weight * std::exp(-5 * left * left);
}

PseudoLabelled::PseudoLabelled(std::shared_ptr<models::Model> inner, data::Table table, PseudoLabelledOptions options_)
    : Wrapped(std::move(inner)),
      options(std::move(options_)),
      drawn_("PseudoLabelled", *inner_, std::move(table), options.rows(), options.seed()) {
  TORCH_CHECK_VALUE(schema().task == "ctr" || data::has_classes(schema().task),
                    "PseudoLabelled: made for task ctr, text or image, the data's task is '", schema().task, "'");
  TORCH_CHECK_VALUE(options.threshold() > 0.5 && options.threshold() < 1,
                    "PseudoLabelled: threshold must lie in (0.5, 1), got ", options.threshold());
  TORCH_CHECK_VALUE(options.positive_threshold() > 1 - options.threshold() && options.positive_threshold() < 1,
                    "PseudoLabelled: positive_threshold must lie in (1 - threshold, 1), got ",
                    options.positive_threshold());
  check_weight("PseudoLabelled", options.weight(), options.ramp());
  steps = register_buffer("pseudo_steps", torch::zeros({}, torch::kInt64));
}

torch::Tensor PseudoLabelled::unlabelled_loss(data::Batch batch) {
  batch.label = torch::Tensor();
  torch::Tensor p;
  {
    const models::EvaluationMode evaluating(*inner_);
    const torch::NoGradGuard no_grad;
    p = inner_->forward(batch);
  }
  const auto rows = static_cast<double>(std::max<int64_t>(batch.size(), 1));
  if (data::has_classes(schema().task)) {
    const auto [best, guess] = p.softmax(1).max(1);  // [n] each
    const auto sure = best.ge(options.threshold()).to(p.scalar_type());
    const auto lost = torch::nll_loss(inner_->forward(batch).log_softmax(1), guess, {}, at::Reduction::None);
    return (lost * sure).sum() / rows;
  }
  p = p.sigmoid();  // [n]
  const auto positive = p >= options.positive_threshold();
  const auto kept = positive.logical_or(1 - p >= options.threshold()).to(p.scalar_type());
  const auto out = nn::bce_with_logits(inner_->forward(batch), positive);
  return (out * kept).sum() / rows;
}

torch::Tensor PseudoLabelled::loss(const data::Batch& batch) {
  const auto loss = inner_->loss(batch);
  if (options.weight() == 0) return loss;
  const auto number = steps.item<int64_t>();
  if (is_training()) steps.add_(1);
  return loss + ramped(options.weight(), number, options.ramp()) * unlabelled_loss(drawn_.batch(number));
}

MeanTeacher::MeanTeacher(std::shared_ptr<models::Model> inner, std::shared_ptr<models::Model> teacher,
                         data::Table table, MeanTeacherOptions options_)
    : Wrapped(std::move(inner)),
      options(std::move(options_)),
      teacher_(std::move(teacher)),
      drawn_("MeanTeacher", *inner_, std::move(table), options.rows(), options.seed()) {
  TORCH_CHECK_VALUE(options.momentum() >= 0 && options.momentum() < 1, "MeanTeacher: momentum must lie in [0, 1), got ",
                    options.momentum());
  TORCH_CHECK_VALUE(options.drop() >= 0 && options.drop() < 1, "MeanTeacher: drop must lie in [0, 1), got ",
                    options.drop());
  check_weight("MeanTeacher", options.weight(), options.ramp());
  TORCH_CHECK_VALUE(teacher_ != inner_, "MeanTeacher: the teacher must be another model than the student");
  steps = register_buffer("teacher_steps", torch::zeros({}, torch::kInt64));
  const torch::NoGradGuard no_grad;
  const auto theirs = named_tensors(*teacher_);
  const auto mine = named_tensors(*inner_);
  TORCH_CHECK_VALUE(mine.size() == theirs.size(), "MeanTeacher: the teacher must be a model like the student");
  for (size_t i = 0; i < mine.size(); ++i) {
    TORCH_CHECK_VALUE(mine[i].name == theirs[i].name && mine[i].tensor.sizes() == theirs[i].tensor.sizes(),
                      "MeanTeacher: the teacher must be a model like the student, its '", theirs[i].name, "' is ",
                      theirs[i].tensor.sizes(), ", the student's '", mine[i].name, "' is ", mine[i].tensor.sizes());
    auto to = theirs[i].tensor;
    to.copy_(mine[i].tensor);
    if (!mine[i].is_buffer) to.set_requires_grad(false);
    const bool averaged = !mine[i].is_buffer && to.is_floating_point();
    (averaged ? parameters_ : buffers_).emplace_back(mine[i].tensor, to);
  }
  teacher_->set_history(history());
  register_module("teacher", teacher_);
  MeanTeacher::train(inner_->is_training());
}

void MeanTeacher::prepare(const data::Table& train) {
  Wrapped::prepare(train);
  teacher_->prepare(train);
  teacher_->set_history(history());
}

void MeanTeacher::train(bool on) {
  follow();
  Wrapped::train(on);
  teacher_->eval();
}

void MeanTeacher::follow() {
  if (!std::exchange(pending_, false)) return;
  const torch::NoGradGuard no_grad;
  steps.add_(1);
  const auto m = std::min(1 - 1 / (steps.item<double>() + 1), options.momentum());
  for (auto& [student, teacher] : parameters_) teacher.lerp_(student, 1 - m);
  for (auto& [student, teacher] : buffers_) teacher.copy_(student);
}

data::Batch MeanTeacher::dropped(const data::Batch& batch) const {
  if (options.drop() == 0) return batch;
  auto out = batch;
  const auto missing = torch::rand(batch.categorical.sizes()) < options.drop();  // [B, F]
  out.categorical = batch.categorical.masked_fill(missing, kMissing);
  if (schema().user >= 0) out.user = batch.user.masked_fill(missing.select(1, schema().user), kMissing);
  if (schema().item >= 0) out.item = batch.item.masked_fill(missing.select(1, schema().item), kMissing);
  return out;
}

torch::Tensor MeanTeacher::answer(models::Model& model, const data::Batch& batch) const {
  const auto out = model.forward(dropped(batch));
  return schema().task == "rating" ? out : data::has_classes(schema().task) ? out.softmax(1) : out.sigmoid();
}

torch::Tensor MeanTeacher::loss(const data::Batch& batch) {
  if (is_training()) follow();
  const auto loss = inner_->loss(batch);
  const auto number = steps.item<int64_t>();
  pending_ = is_training() && torch::GradMode::is_enabled();
  if (options.weight() == 0) return loss;
  auto rows = drawn_.batch(number);
  rows.label = torch::Tensor();
  torch::Tensor theirs;
  {
    const torch::NoGradGuard no_grad;
    theirs = answer(*teacher_, rows);
  }
  const auto apart = (answer(*inner_, rows) - theirs).square().mean();
  return loss + ramped(options.weight(), number, options.ramp()) * apart;
}

}  // namespace polyscene::transfer
