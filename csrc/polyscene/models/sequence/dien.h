#pragma once

#include "polyscene/models/sequence/event_model.h"
#include "polyscene/nn/dice_mlp.h"

namespace polyscene::models {

/// Options for `DIEN`.
struct DIENOptions {
  EventOptions common;
  /// Hidden widths of the unit that weighs events.
  TORCH_ARG(std::vector<int64_t>, attention) = {80, 40};
  /// Weight of the auxiliary loss.
  TORCH_ARG(double, auxiliary) = 1;
  /// Hidden widths of the network of the auxiliary loss.
  TORCH_ARG(std::vector<int64_t>, auxiliary_hidden) = {100, 50};
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
    visit("auxiliary", self.auxiliary(), "weight of the auxiliary loss");
    visit("auxiliary_hidden", self.auxiliary_hidden(), "hidden widths of the network of the auxiliary loss");
    visit("hidden", self.hidden(), "hidden widths of the network");
    visit("activation", self.activation(), "dice, or relu, gelu, silu, tanh, sigmoid, leaky_relu or identity");
    visit("dropout", self.dropout(), "dropout after each activation of the network");
  }
};

/// Deep Interest Evolution Network (Zhou et al., AAAI 2019): interests are states, and the part of their evolution that
/// has to do with the candidate counts.
///
///   h_t = GRU(k_1 .. k_t),   a_t = softmax_t(MLP_att([v; h_t; v - h_t; v * h_t]))
///   r = sigma(.), z = sigma(.), n = tanh(.) of h_t and g_{t-1} as in a GRU,   g_t = (1 - a_t z) g_{t-1} + a_t z n
///   logit = MLP([x; g_T; s; s * v]),   s = sum_t k_t
///   loss  = task loss + auxiliary L_aux,   L_aux = -mean_t [log s(h_t, k_{t+1}) + log(1 - s(h_t, k'_{t+1}))]
///
/// z lets the new in, as in the paper (torch's GRU calls 1 - z by that name). k' is of an item that is drawn for each
/// event in training, any but the one that followed; s(., .) is sigma of a network over both. The mean is over steps
/// that exist; the authors' code divides by padded ones as well. Rows without events have g_T = 0. Shapes: k [L, H], h
/// and g [B, T, H], v [B, H].
class DIENImpl : public EventModel {
 public:
  explicit DIENImpl(std::shared_ptr<const data::Schema> schema, DIENOptions options = {});
  std::string name() const override { return "dien"; }
  OptionMap options_map() const override { return to_map(options); }

  DIENOptions options;
  torch::nn::GRU extraction = nullptr;
  nn::DiceMLP attention = nullptr;
  torch::nn::Linear input_gates = nullptr;  ///< of h_t for r, z and n, one after the other
  torch::nn::Linear state_gates = nullptr;  ///< of g_{t-1}
  nn::DiceMLP auxiliary = nullptr;          ///< with a positive weight
  nn::DiceMLP network = nullptr;

 protected:
  /// Tells "attention" [B, T], oldest event first, and "events" [B].
  Answer body(const Rows& rows, bool explaining) override;

 private:
  torch::Tensor evolve(const torch::Tensor& h, const torch::Tensor& weight);           // g_T, [B, H]
  torch::Tensor auxiliary_loss(const Behaviour& events, const torch::Tensor& states);  // []; undefined: none
};
TORCH_MODULE(DIEN);

}  // namespace polyscene::models
