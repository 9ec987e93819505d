#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>

#include "polyscene/train/trainer.h"

namespace polyscene::train {

/// How an epoch compares with the best one of its phase so far.
enum class Standing : uint8_t { kWorse, kEqual, kBetter };

/// Where a fit stands between two epochs.
struct Progress {
  FitResult result;
  int64_t phase = 0;   ///< phase in progress
  int64_t epoch = 0;   ///< epochs done in it
  int64_t total = 0;   ///< epochs done in all phases
  int64_t waited = 0;  ///< epochs since one was better than all before it in its phase
  double best_value = std::numeric_limits<double>::quiet_NaN();
  std::map<std::string, torch::Tensor> best;  ///< weights of the best epoch of this phase

  /// How `line` compares by `monitor` ("": the newest is better, as it is while no epoch has a value); remembers its
  /// value.
  Standing judge(const Epoch& line, const std::string& monitor);
  /// A new phase starts its own search for a best epoch.
  void start_phase();
};

/// Copies of parameters and buffers by name.
std::map<std::string, torch::Tensor> clone_state(const torch::nn::Module& module);
/// Writes such copies back, in place.
void restore_state(torch::nn::Module& module, const std::map<std::string, torch::Tensor>& state);

/// What must agree between the run that wrote a checkpoint and the one that resumes it.
std::string identity_of(const models::Model& model, const data::Table& train, const data::Table* valid,
                        const TrainOptions& options);

/// Writes model, optimiser and position, atomically.
void save_progress(const std::string& path, const std::string& identity, const models::Model& model,
                   const std::map<std::string, torch::Tensor>& optimizer, const Progress& progress);
/// Reads them back into `model` and `progress`; returns the optimiser's tensors.
/// Throws ValueError when the checkpoint belongs to other data, options or another model.
std::map<std::string, torch::Tensor> load_progress(const std::string& path, const std::string& identity,
                                                   models::Model& model, Progress& progress);

}  // namespace polyscene::train
