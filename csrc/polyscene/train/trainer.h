#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "polyscene/data/table.h"
#include "polyscene/models/base.h"
#include "polyscene/train/optimizer.h"

namespace polyscene::train {

/// Options for `Trainer`; the optimiser's stand beside them.
struct TrainOptions {
  OptimizerOptions optimizer;
  TORCH_ARG(int64_t, batch_size) = 4096;
  TORCH_ARG(int64_t, shuffle_window) = 0;
  TORCH_ARG(int64_t, epochs) = 50;
  TORCH_ARG(int64_t, patience) = 4;
  TORCH_ARG(std::string, monitor) = "";
  TORCH_ARG(std::string, class_weight) = "none";
  TORCH_ARG(std::string, scene_weight) = "none";
  TORCH_ARG(std::string, precision) = "float32";
  TORCH_ARG(int64_t, seed) = 2022;
  TORCH_ARG(int64_t, threads) = 0;
  TORCH_ARG(double, crop) = 0;
  TORCH_ARG(double, mask) = 0;
  TORCH_ARG(double, reorder) = 0;
  TORCH_ARG(double, substitute) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    OptimizerOptions::fields(self.optimizer, visit);
    visit("batch_size", self.batch_size(), "rows of one step; of sequences windows of events");
    visit("shuffle_window", self.shuffle_window(),
          "rows shuffled together, blocks of neighbours drawn from all over the table; 0: all rows, or 4,194,304 of a "
          "compiled table with more than 33,554,432");
    visit("epochs", self.epochs(), "most passes over the training rows");
    visit("patience", self.patience(), "epochs without a better validation score before training stops; 0: never");
    visit("monitor", self.monitor(),
          "validation metric that chooses the epoch; empty: auc (ctr), rmse (rating), f1 "
          "(text, image), ndcg@10 (ranking, sequence)");
    visit("class_weight", self.class_weight(), "'balanced' gives both labels the same total weight; or 'none'");
    visit("scene_weight", self.scene_weight(), "'balanced' gives every scene the same total weight; or 'none'");
    visit("precision", self.precision(), "what dense layers multiply in: 'float32' or 'bf16'");
    visit("seed", self.seed(), "seed of initialisation, order of rows and dropout");
    visit("threads", self.threads(), "threads of the training loop; 0: as torch is set");
    visit("crop", self.crop(), "of sequences: probability that a window loses some of its oldest events, half at most");
    visit("mask", self.mask(), "of sequences: probability that a mask stands for an event");
    visit("reorder", self.reorder(),
          "of sequences: probability that a run of a window's events is shuffled, half of them at most");
    visit("substitute", self.substitute(),
          "of sequences: probability that an item of the same interest and scene stands for an event");
  }
};

/// One line of the history.
struct Epoch {
  int64_t epoch = 0;  ///< from 1, over all phases
  std::string phase;
  double train_loss = 0;
  std::map<std::string, double> valid = {};  ///< overall validation metrics; empty without validation rows
  double seconds = 0;
  double rows_per_s = 0;
  bool best = false;  ///< the best so far by the monitored metric
};

/// What the training loop tells while it runs; all optional, called from the thread that called `fit`.
struct Callbacks {
  /// A few times a second: epoch (from 1), rows done in it, rows of an epoch, mean loss so far.
  std::function<void(int64_t, int64_t, int64_t, double)> progress;
  std::function<void(const Epoch&)> epoch;
  /// A few times a second; true ends the run after the current step, with the best epoch so far restored.
  std::function<bool()> interrupted;
};

struct FitResult {
  std::vector<Epoch> history;
  int64_t best_epoch = 0;  ///< 0 when nothing was trained
  bool interrupted = false;
};

/// Trains models of the base class; the best epoch on validation data is what remains.
class Trainer {
 public:
  /// Throws ValueError for options out of range.
  explicit Trainer(TrainOptions options);

  /// Fits `model` on `train`. `valid` (may be null) chooses the epoch. With `checkpoint` a file is written after every
  /// epoch, from which a call with `resume` goes on to the same bits as a run that was never stopped.
  /// Throws ValueError under no_grad or inference mode, in a forked process, for an empty table or an unknown monitor,
  /// RuntimeError when the loss is no longer finite.
  FitResult fit(models::Model& model, const data::Table& train, const data::Table* valid,
                const Callbacks& callbacks = {}, const std::string& checkpoint = "", bool resume = false) const;

  const TrainOptions& options() const { return options_; }
  /// The monitored metric for a task, defaults filled in.
  std::string monitor(const std::string& task) const;

 private:
  void check_monitor(const models::Model& model) const;
  Optimizer make_optimizer(const models::Model& model, const models::Phase& phase) const;

  TrainOptions options_;
};

}  // namespace polyscene::train
