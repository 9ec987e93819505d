#pragma once

#include "polyscene/models/wrapped.h"
#include "polyscene/transfer/drawn.h"

namespace polyscene::transfer {

/// Options for `PseudoLabelled`.
struct PseudoLabelledOptions {
  TORCH_ARG(double, threshold) = 0.9;
  TORCH_ARG(double, positive_threshold) = 0.9;
  TORCH_ARG(double, weight) = 1;
  TORCH_ARG(int64_t, ramp) = 1000;
  TORCH_ARG(int64_t, rows) = 256;
  TORCH_ARG(int64_t, seed) = 2022;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("threshold", self.threshold(), "probability of a negative from which a row is taken for one, in (0.5, 1)");
    visit("positive_threshold", self.positive_threshold(), "the same of a positive, in (0, 1)");
    visit("weight", self.weight(), "most weight of the rows without labels (w_max)");
    visit("ramp", self.ramp(), "steps until they have it (T)");
    visit("rows", self.rows(), "rows without labels of a step, the same number from every scene");
    visit("seed", self.seed(), "seed of the rows that are drawn");
  }
};

/// A model that takes its own confident answers for labels (Lee, ICML 2013 workshops):
///
///   loss = inner loss + w(t) 1 / n sum_rows m BCE(s, y),   p = sigma(s) without a gradient, in evaluation mode
///   y = 1, m = 1 where p >= positive_threshold;  y = 0, m = 1 where 1 - p >= threshold;  else m = 0
///   w(t) = w_max exp(-5 (1 - min(t / T, 1))^2)     (Tarvainen and Valpola, NeurIPS 2017)
///
/// over n rows of a table whose labels are never read; n counts all of them, so that a handful of confident rows does
/// not rule. Where few rows are positive all are confident negatives: give the positives a lower threshold.
class PseudoLabelled : public models::Wrapped {
 public:
  /// Throws ValueError for options out of range, an empty table, or a task that is not ctr.
  PseudoLabelled(std::shared_ptr<models::Model> inner, data::Table table, PseudoLabelledOptions options = {});

  torch::Tensor loss(const data::Batch& batch) override;
  /// The mean over rows without labels, before w(t), [].
  torch::Tensor unlabelled_loss(data::Batch batch);

  PseudoLabelledOptions options;
  torch::Tensor steps;  ///< int64 [], of the training so far; a buffer

 private:
  Drawn drawn_;
};

/// Options for `MeanTeacher`.
struct MeanTeacherOptions {
  TORCH_ARG(double, momentum) = 0.999;
  TORCH_ARG(double, weight) = 1;
  TORCH_ARG(int64_t, ramp) = 1000;
  TORCH_ARG(double, drop) = 0.1;
  TORCH_ARG(int64_t, rows) = 256;
  TORCH_ARG(int64_t, seed) = 2022;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("momentum", self.momentum(), "most share of the teacher in its next step (m)");
    visit("weight", self.weight(), "most weight of the rows without labels (w_max)");
    visit("ramp", self.ramp(), "steps until they have it (T)");
    visit("drop", self.drop(), "share of the cells that count as missing, drawn for student and teacher apart");
    visit("rows", self.rows(), "rows without labels of a step, the same number from every scene");
    visit("seed", self.seed(), "seed of the rows that are drawn");
  }
};

/// A model that is to agree with the running mean of itself (Tarvainen and Valpola, NeurIPS 2017):
///
///   teacher <- m_t teacher + (1 - m_t) student, m_t = min(1 - 1 / (t + 1), m)      after step t = 1, 2, ...
///   loss = inner loss + w(t) mean (q_s - q_t)^2      w(t) as for `PseudoLabelled`
///
/// q is a probability (ctr, ranking: of the row's item) or a rating, of rows of a table whose labels are never read;
/// student and teacher see different cells dropped. Buffers of the teacher are copied from the student, not averaged.
/// In evaluation mode the teacher answers. The student's parameters have the inner model's names, the teacher's stand
/// under "teacher.".
class MeanTeacher : public models::Wrapped {
 public:
  /// `teacher` is another model of the same kind, which takes over the parameters of `inner`. Throws ValueError for
  /// options out of range, an empty table, the same model twice, or one of other parameters.
  MeanTeacher(std::shared_ptr<models::Model> inner, std::shared_ptr<models::Model> teacher, data::Table table,
              MeanTeacherOptions options = {});

  torch::Tensor forward(const data::Batch& batch) override { return answering().forward(batch); }
  torch::Tensor score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner) override {
    return answering().score(candidates, events, owner);
  }
  models::Explanation explain(const data::Batch& batch) override { return answering().explain(batch); }
  torch::Tensor represent(const data::Batch& batch) override { return answering().represent(batch); }
  void encode() override { answering().encode(); }
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override {
    return answering().score_items(users, scene, items);
  }
  torch::Tensor transition_matrix(int64_t from, int64_t to) override { return answering().transition_matrix(from, to); }
  torch::Tensor loss(const data::Batch& batch) override;
  void prepare(const data::Table& train) override;
  void train(bool on = true) override;
  /// Moves the teacher after a step of the student; called by `loss` and `train` where a step was made.
  void follow();

  MeanTeacherOptions options;
  torch::Tensor steps;  ///< int64 [], of the teacher so far; a buffer

 private:
  models::Model& answering() const { return is_training() ? *inner_ : *teacher_; }
  torch::Tensor answer(models::Model& model, const data::Batch& batch) const;
  data::Batch dropped(const data::Batch& batch) const;

  std::shared_ptr<models::Model> teacher_;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> parameters_, buffers_;  // student, teacher
  Drawn drawn_;
  bool pending_ = false;
};

/// w_max exp(-5 (1 - min(t / T, 1))^2).
double ramped(double weight, int64_t step, int64_t ramp);

}  // namespace polyscene::transfer
