#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "polyscene/train/optimizer_options.h"
#include "polyscene/train/table_update.h"

namespace polyscene::train {

/// Parameters by name, in a fixed order.
using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

/// Optimiser over dense parameters and lookup tables.
///
///   adam, adamw      torch.optim.Adam and AdamW, dense and fused for everything
///   sgd              torch.optim.SGD; tables: looked-up rows only, momentum included
///   lazy_adam        dense parameters: adam; tables: Adam on looked-up rows only, the moments of others stand still
///   rowwise_adagrad  dense parameters: Adagrad; tables: one accumulator a row of the mean squared gradient
///
/// Rows of a sparse gradient are the looked-up rows; of a dense gradient those that are not all zero. Weight decay
/// never touches other rows of a table, with any of the five. Results do not depend on the number of threads.
class Optimizer {
 public:
  /// Throws ValueError for bad options, repeated names, tables that are not contiguous float32 or float64 on the CPU.
  explicit Optimizer(OptimizerOptions options, const NamedTensors& dense, const NamedTensors& tables = {});

  /// Whether tables of this optimiser are updated row by row, so that sparse gradients pay.
  bool lazy() const;
  /// Moves every parameter that has a gradient and is not frozen. Throws ValueError that names the parameter when a
  /// gradient is not finite (nothing has moved then), or when the schedule needs `set_total_steps` first.
  void step();
  /// Drops all gradients.
  void zero_grad();

  /// Freezes the parameters under `frozen` (names or dotted prefixes of them; all others move) and scales the learning
  /// rate. Throws ValueError for a prefix that no parameter has.
  void set_phase(const std::vector<std::string>& frozen, double lr_scale = 1);
  /// Further factor for the parameters under `prefix`, on top of the phase.
  void set_lr_scale(const std::string& prefix, double scale);
  /// Length of the whole training, for the schedules that end.
  void set_total_steps(int64_t steps) { total_steps_ = steps; }

  int64_t steps() const { return step_; }                  ///< calls of `step` so far
  double lr() const;                                       ///< what the next `step` starts from
  double gradient_norm() const { return gradient_norm_; }  ///< of the last step, before clipping; frozen ones left out
  const OptimizerOptions& options() const { return options_; }

  /// Everything besides the parameters that a bit-exact continuation needs, by name; shared with the optimiser, not
  /// copied.
  std::map<std::string, torch::Tensor> state() const;
  /// Takes a state over. Throws ValueError for missing, unknown or differently shaped entries.
  void load(const std::map<std::string, torch::Tensor>& state);

 private:
  struct Slot {
    std::string name;
    torch::Tensor parameter;
    bool table = false;
    bool frozen = false;
    double lr_scale = 1;
    torch::Tensor steps;                           // int64 [], steps of this parameter
    std::map<std::string, torch::Tensor> moments;  // by the names that `state` gives them
  };
  struct Update {
    Slot* slot;
    torch::Tensor gradient;  // dense, or coalesced sparse
  };

  std::vector<Slot*> under(const std::string& prefix);
  std::vector<Update> gradients();
  void clip(std::vector<Update>& updates);
  void step_table(const Update& update, double lr);
  void step_dense(std::vector<Update>& updates, double lr);
  void decay_rows(Update& update, double lr);

  OptimizerOptions options_;
  RowAdam row_adam_;
  std::vector<Slot> slots_;
  double phase_scale_ = 1;
  int64_t step_ = 0;
  int64_t total_steps_ = 0;
  double gradient_norm_ = 0;
};

}  // namespace polyscene::train
