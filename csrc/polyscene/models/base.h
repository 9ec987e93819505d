#pragma once

#include <torch/torch.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "polyscene/core/options.h"
#include "polyscene/data/batch.h"
#include "polyscene/data/history.h"
#include "polyscene/data/negatives.h"
#include "polyscene/data/schema.h"
#include "polyscene/data/table.h"

namespace polyscene::models {

/// Named tensors in the order they were made: what `explain` returns.
using Explanation = std::vector<std::pair<std::string, torch::Tensor>>;

/// One stage of training.
struct Phase {
  std::string name = "fit";
  std::vector<std::string> scenes;  ///< scenes whose rows train; empty: all
  std::vector<std::string> frozen;  ///< prefixes of parameter names that do not move
  double lr_scale = 1;              ///< times the trainer's learning rate
  int64_t epochs = 0;               ///< 0: the trainer's
  int64_t patience = -1;            ///< -1: the trainer's
  int64_t batch_size = 0;           ///< 0: the trainer's
  /// Whether it is judged by validation rows of users whom training knew in the row's scene alone, because it cannot
  /// score others yet. Where there are none it goes on for the trainer's epochs, at most 30, and keeps the newest.
  bool of_known = false;
  bool newest = false;  ///< whether of epochs that are worth the same the newest is kept, not the first
  /// int64, users that train, each a row of a batch without item and label (mappings); undefined: rows of the table.
  torch::Tensor users = {};
  std::vector<std::pair<std::string, double>> lr_scales = {};  ///< further factors, for parameters under prefixes
};

/// What trainer, evaluator and transfer know of a model. Every model can be made from a schema alone.
class Model : public torch::nn::Module {
 public:
  explicit Model(std::shared_ptr<const data::Schema> schema) : schema_(std::move(schema)) {}

  /// Logits (ctr, ranking) or predictions (rating) of each row, [B], in batch order. In task sequence scores of the
  /// items of each row's scene, [B, C], after what its history holds.
  virtual torch::Tensor forward(const data::Batch& batch) = 0;
  /// Logits of candidate rows whose users' events are given once a user: candidate n belongs to user owner[n], int64
  /// [N], of `events`. What `recommend` calls; a model that follows users encodes each of them once.
  virtual torch::Tensor score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner);
  /// Mean loss over the rows, weights and auxiliary terms included. Default: binary cross-entropy (ctr), squared error
  /// (rating).
  virtual torch::Tensor loss(const data::Batch& batch);
  /// What the head reads of each row, [B, H], in batch order: the last hidden layer of a model that ends in a network,
  /// else the embeddings side by side. Throws ValueError for a model that has neither.
  virtual torch::Tensor represent(const data::Batch& batch);
  /// Everything else a forward computes, by name.
  virtual Explanation explain(const data::Batch& batch);
  /// Graphs, counts, statistics; sees training rows only.
  virtual void prepare(const data::Table& train);
  /// True when `prepare` alone fits the model (nothing to optimise).
  virtual bool fit_closed_form(const data::Table& train);
  virtual std::vector<Phase> phases() const { return {Phase{}}; }
  /// Before the first epoch of a phase, also of one that is resumed.
  virtual void begin_phase(const Phase& phase);
  virtual void begin_epoch(int64_t epoch);
  /// What negatives each training row must carry (ranking).
  virtual data::Sampling sampling() const { return {}; }
  /// Before `score_items` is called, and again after parameters moved: what all users share (propagation over a graph)
  /// is computed here, once.
  virtual void encode();
  /// Scores of `items` (int64 [C], ascending) for `users` (int64 [U]) in a scene, [U, C]; what rankings sort.
  /// Default: `forward` on every pair.
  virtual torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items);
  /// Whether `score_items` of some users and items costs no more than their share of all: rankings then ask for items
  /// piece by piece, and no further than their metrics look.
  virtual bool scores_by_piece() const { return false; }
  /// How many past events each row must carry (0: none).
  virtual int64_t history_length() const { return 0; }
  /// Parameters of lookup tables: sparse gradients, lazy optimiser, no weight decay on rows that were not looked up.
  virtual std::vector<std::string> table_parameters() const;
  /// Whether lookups give sparse gradients (the trainer's choice; a forward from Python is dense).
  virtual void sparse_gradients(bool on);

  /// Mean predicted p(y' | y = i) over the training events that go from scene `from` to scene `to`, [K, K].
  /// Throws ValueError for a model without interests that move.
  virtual torch::Tensor transition_matrix(int64_t from, int64_t to);

  virtual std::string name() const = 0;       ///< registered name
  virtual OptionMap options_map() const = 0;  ///< every option with its value

  const data::Schema& schema() const { return *schema_; }
  std::shared_ptr<const data::Schema> schema_ptr() const { return schema_; }
  /// Training behaviour, kept by `prepare` when the data has users and items; saved with the model.
  std::shared_ptr<const data::History> history() const { return history_; }
  void set_history(std::shared_ptr<const data::History> history) { history_ = std::move(history); }
  /// Throws ValueError when the batch was encoded with another schema.
  void check(const data::Batch& batch) const;
  /// The default loss of outputs [B] that are there already; models with auxiliary terms add them to this.
  torch::Tensor task_loss(const torch::Tensor& out, const data::Batch& batch) const;

 protected:
  std::shared_ptr<const data::Schema> schema_;
  std::shared_ptr<const data::History> history_;
};

/// Evaluation mode for as long as it lives.
class EvaluationMode {
 public:
  explicit EvaluationMode(Model& model) : model_(model), training_(model.is_training()) { model_.eval(); }
  ~EvaluationMode() { model_.train(training_); }
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  Model& model_;
  bool training_;
};

/// Weighted mean of a per-row loss [B]: sum(w l) / sum(w), or the mean without weights.
torch::Tensor weighted_mean(const torch::Tensor& loss, const torch::Tensor& weight);

/// Items of a scene with training rows, int64 ascending: what task sequence ranks. All items before `prepare`.
torch::Tensor scene_items(const Model& model, int64_t scene);

/// What a prediction without features is, in the units of `forward`: the mean training label, for ctr its log-odds.
double base_score(const data::Schema& schema);

}  // namespace polyscene::models
