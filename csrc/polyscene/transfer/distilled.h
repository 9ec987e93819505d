#pragma once

#include <optional>

#include "polyscene/data/table.h"
#include "polyscene/models/wrapped.h"

namespace polyscene::transfer {

/// Options for `Distilled`.
struct DistilledOptions {
  TORCH_ARG(double, temperature) = 2;
  TORCH_ARG(double, share) = 0.5;
  TORCH_ARG(std::vector<double>, weights) = {};
  TORCH_ARG(std::vector<double>, shifts) = {};
  TORCH_ARG(double, features) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("temperature", self.temperature(), "what logits are divided by, in soft labels (T)");
    visit("share", self.share(), "weight of the soft labels, that of the task is 1 - share (a)");
    visit("weights", self.weights(), "of the teachers; empty: all the same");
    visit("shifts", self.shifts(),
          "added to the logits of each teacher, for scenes with other shares of positive labels; empty: 0");
    visit("features", self.features(), "weight of the distance to the first teacher's hidden layer");
  }
};

/// A model that learns from labels and from k teachers (Hinton, Vinyals and Dean, 2015):
///
///   loss = (1 - a) inner loss + a T^2 soft(s / T, sum_i w_i p_i) + features mean ||P h_s - h_t||^2 / H
///   p_i  = sigma((t_i + shift_i) / T)            soft: binary cross-entropy (ctr)
///   p_i  = softmax over the row's item and its negatives, soft: KL (ranking);    ratings: (s - sum_i w_i t_i)^2
///          softmax over the items of the scene, after the past of a window's newest row (sequence)
///
/// P is a linear map that trains beside (hints: Romero et al., ICLR 2015). Teachers are in evaluation mode and take no
/// gradient. `prior_shift` gives the shift that moves a teacher's prior to the student's.
class Distilled : public models::Wrapped {
 public:
  /// `sample` shows how wide hidden layers are; only `features` asks. Throws ValueError for no teachers, options out of
  /// range, a teacher of another schema.
  Distilled(std::shared_ptr<models::Model> inner, std::vector<std::shared_ptr<models::Model>> teachers,
            DistilledOptions options = {}, const std::optional<data::Table>& sample = std::nullopt);

  torch::Tensor loss(const data::Batch& batch) override;
  void prepare(const data::Table& train) override;
  int64_t history_length() const override;

  /// The part of the loss that the soft labels make, [].
  torch::Tensor soft_loss(const data::Batch& batch);

  DistilledOptions options;
  torch::nn::Linear projection = nullptr;  ///< P; empty without `features`

 private:
  data::Batch candidates(const data::Batch& batch) const;

  std::vector<std::shared_ptr<models::Model>> teachers_;
  std::vector<double> weights_;
};

/// log(q / (1 - q)) - log(p / (1 - p)): what to add to logits of a model trained where a share p of the labels is
/// positive, for rows where it is q. Throws ValueError unless both lie in (0, 1).
double prior_shift(double from, double to);

}  // namespace polyscene::transfer
