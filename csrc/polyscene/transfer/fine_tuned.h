#pragma once

#include <string>
#include <vector>

#include "polyscene/models/wrapped.h"

namespace polyscene::transfer {

/// Options for `FineTuned`.
struct FineTunedOptions {
  TORCH_ARG(std::vector<std::string>, frozen) = {};
  TORCH_ARG(int64_t, top) = 0;
  TORCH_ARG(bool, gradual) = false;
  TORCH_ARG(int64_t, block_epochs) = 1;
  TORCH_ARG(double, decay) = 1;
  TORCH_ARG(bool, reset_head) = false;
  TORCH_ARG(double, lr_scale) = 1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("frozen", self.frozen(), "names or prefixes of parameters that never move");
    visit("top", self.top(), "how many blocks train, from the top; 0: all, 1: the head alone, a linear probe");
    visit("gradual", self.gradual(), "whether blocks join from the top, one every block_epochs");
    visit("block_epochs", self.block_epochs(), "epochs from one block that joins to the next");
    visit("decay", self.decay(), "what the learning rate is divided by from a block to the one below; 2.6 in ULMFiT");
    visit("reset_head", self.reset_head(), "whether the top block starts anew");
    visit("lr_scale", self.lr_scale(), "times the trainer's learning rate");
  }
};

/// A model that goes on from what it is, block by block: frozen parts (Yosinski et al., NeurIPS 2014), gradual
/// unfreezing and discriminative learning rates (ULMFiT: Howard and Ruder, ACL 2018):
///
///   lr_l = lr / decay^(L - l)    for block l of L from the bottom;    phase k of `gradual` trains the k top blocks
///
/// `blocks` finds them: lookup tables are the lowest, then the layers as they were made, what several layers of one
/// number side by side have being one block; parameters of the model itself that are no layer's join the top one. What
/// is frozen is not in the optimiser, parts of which nothing moves stay in evaluation mode, and running statistics of
/// frozen layers stand still. A new phase is a new optimiser.
class FineTuned : public models::Wrapped {
 public:
  /// Throws ValueError for options out of range, unknown prefixes, more blocks than there are, nothing left to train,
  /// and a model that trains in phases of its own.
  FineTuned(std::shared_ptr<models::Model> inner, FineTunedOptions options = {});

  torch::Tensor loss(const data::Batch& batch) override;
  std::vector<models::Phase> phases() const override;
  void begin_phase(const models::Phase& phase) override;
  void train(bool on = true) override;

  /// Names of the parameters of each block, the lowest first.
  const std::vector<std::vector<std::string>>& blocks() const { return blocks_; }

  FineTunedOptions options;

 private:
  std::vector<std::string> frozen_with(size_t open) const;  // with so many blocks open, from the top
  void hold(const std::vector<std::string>& frozen);

  std::vector<std::vector<std::string>> blocks_;
  std::vector<std::shared_ptr<torch::nn::Module>> still_;            // modules of which nothing moves now
  std::vector<std::pair<torch::Tensor, torch::Tensor>> statistics_;  // of frozen layers of others, and their values
};

/// The blocks of a model: names of parameters, shared tensors once, the lowest block first.
std::vector<std::vector<std::string>> blocks_of(const models::Model& model);

}  // namespace polyscene::transfer
