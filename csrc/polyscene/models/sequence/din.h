#pragma once

#include "polyscene/models/sequence/event_model.h"
#include "polyscene/nn/dice_mlp.h"

namespace polyscene::models {

/// Options for `DIN`.
struct DINOptions {
  EventOptions common;
  /// Hidden widths of the unit that weighs events.
  TORCH_ARG(std::vector<int64_t>, attention) = {80, 40};
  /// Whether the weights are put through a softmax; the paper keeps their size.
  TORCH_ARG(bool, softmax) = false;
  /// Hidden widths of the network.
  TORCH_ARG(std::vector<int64_t>, hidden) = {200, 80};
  /// "dice", or relu, gelu, silu, tanh, sigmoid, leaky_relu or identity.
  TORCH_ARG(std::string, activation) = "dice";
  /// Dropout after each activation of the network.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    EventOptions::fields(self.common, visit);
    visit("attention", self.attention(), "hidden widths of the unit that weighs events");
    visit("softmax", self.softmax(), "whether the weights are put through a softmax; the paper keeps their size");
    visit("hidden", self.hidden(), "hidden widths of the network");
    visit("activation", self.activation(), "dice, or relu, gelu, silu, tanh, sigmoid, leaky_relu or identity");
    visit("dropout", self.dropout(), "dropout after each activation of the network");
  }
};

/// Deep Interest Network (Zhou et al., KDD 2018): what a user did counts as far as it has to do with the candidate.
///
///   a_j = MLP_att([v; k_j; v - k_j; v * k_j]),   u = sum_j a_j k_j,   logit = MLP([x; u; u * v])
///
/// The weights are not normalised: their sum says how much of the past speaks for the candidate. The paper's unit reads
/// the two vectors and their outer product; all public code reads difference and product, as here. Dice takes its
/// statistics for each neuron over events (attention) and rows (network); Scenario-Wise-Rec's takes them over the
/// neurons of one sample. The mini-batch aware L2 of the paper is `embedding_l2`. Shapes: x [B, E], k [L, H], v and u
/// [B, H].
class DINImpl : public EventModel {
 public:
  explicit DINImpl(std::shared_ptr<const data::Schema> schema, DINOptions options = {});
  std::string name() const override { return "din"; }
  OptionMap options_map() const override { return to_map(options); }

  DINOptions options;
  nn::DiceMLP attention = nullptr;
  nn::DiceMLP network = nullptr;

 protected:
  /// Tells "attention" [B, T], oldest event first, and "events" [B].
  Answer body(const Rows& rows, bool explaining) override;
};
TORCH_MODULE(DIN);

}  // namespace polyscene::models
