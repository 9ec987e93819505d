#pragma once

#include <map>
#include <memory>
#include <string>

#include "polyscene/core/options.h"
#include "polyscene/data/history.h"
#include "polyscene/data/schema.h"
#include "polyscene/models/base.h"

namespace polyscene::train {

/// What a model file holds.
struct Checkpoint {
  std::string model;  ///< registered name
  OptionMap options;
  std::shared_ptr<const data::Schema> schema;
  std::shared_ptr<const data::History> history;      ///< null when the model kept none
  std::map<std::string, torch::Tensor> state;        ///< parameters and buffers by dotted name, aliases included
  std::map<std::string, torch::Tensor> training;     ///< optimiser state and best weights of a run that can be resumed
  std::map<std::string, std::string> metadata = {};  ///< free text by name, e.g. the threshold
};

/// Writes one safetensors file, atomically. Tensors that share storage are written once and listed as aliases.
void write_checkpoint(const std::string& path, const Checkpoint& checkpoint);
/// Throws ValueError for a file that is no model, is damaged, or was written by a newer version.
Checkpoint read_checkpoint(const std::string& path);

/// Parameters and buffers by dotted name.
std::map<std::string, torch::Tensor> state_of(const torch::nn::Module& module);
/// Copies `state` into the module. Throws ValueError that lists missing, unexpected and misshapen names; nothing is
/// changed then.
void load_state(torch::nn::Module& module, const std::map<std::string, torch::Tensor>& state, const std::string& owner);

/// Saves a model with schema, options and history.
void save_model(const models::Model& model, const std::string& path);
/// Makes the model again. Throws ValueError when its name is not registered.
std::shared_ptr<models::Model> load_model(const std::string& path);

}  // namespace polyscene::train
