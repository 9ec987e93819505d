#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>

#include "polyscene/data/augment.h"
#include "polyscene/data/negatives.h"
#include "polyscene/data/window_batches.h"
#include "polyscene/eval/ranking.h"
#include "polyscene/train/trainer.h"

namespace polyscene::train {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start);

/// Epochs of one phase of a fit. All that is given must outlive it.
class Loop {
 public:
  Loop(models::Model& model, const models::Phase& phase, const data::Table& train, const data::Table* valid,
       const TrainOptions& options, const Callbacks& callbacks);

  /// Mean loss of one epoch; nothing when it was interrupted.
  std::optional<double> epoch(Optimizer& optimizer, int64_t number);
  /// Rows, users or windows of an epoch.
  int64_t size() const;
  /// The same with the rows of windows in the place of these.
  int64_t rows() const { return windows_ ? train_.size() : size(); }
  int64_t batches() const { return (size() + batch_size_ - 1) / batch_size_; }
  /// Overall metrics of the validation rows; empty without any.
  std::map<std::string, double> validate();

 private:
  models::Model& model_;
  const models::Phase& phase_;
  int64_t batch_size_;
  const data::Table& train_;
  const data::Table* valid_;
  const TrainOptions& options_;
  const Callbacks& callbacks_;
  Clock::time_point reported_ = Clock::now();  // over all epochs: one may be shorter than a report takes
  torch::Tensor weight_;
  std::optional<data::Negatives> negatives_;
  std::optional<data::Augmenter> augmenter_;
  std::optional<data::Windows> windows_;  // of task sequence: what an epoch walks
  eval::RankingOptions ranked_;
  int64_t steps_ = 0;  // over all epochs
};

}  // namespace polyscene::train
