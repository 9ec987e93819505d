#pragma once

#include "polyscene/models/sequence/event_model.h"
#include "polyscene/nn/dice_mlp.h"

namespace polyscene::models {

/// Options for `DASL`.
struct DASLOptions {
  EventOptions common;
  /// Width of a user's vectors (U).
  TORCH_ARG(int64_t, user_dim) = 32;
  /// Width of the states of events (H).
  TORCH_ARG(int64_t, states) = 64;
  /// Weight of what makes the vectors of a user map onto one another.
  TORCH_ARG(double, alignment) = 0.1;
  /// Weight of what keeps the maps orthogonal.
  TORCH_ARG(double, orthogonality) = 0.1;
  /// Hidden widths of the network.
  TORCH_ARG(std::vector<int64_t>, hidden) = {80, 40};
  /// "dice", or relu, gelu, silu, tanh, sigmoid, leaky_relu or identity.
  TORCH_ARG(std::string, activation) = "dice";
  /// Dropout after each activation of the network.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    EventOptions::fields(self.common, visit);
    visit("user_dim", self.user_dim(), "width of a user's vectors, one a scene");
    visit("states", self.states(), "width of the states of events");
    visit("alignment", self.alignment(),
          "weight of what makes the vectors of a user in two scenes map onto one another; 0 for none");
    visit("orthogonality", self.orthogonality(), "weight of what keeps these maps orthogonal; 0 for none");
    visit("hidden", self.hidden(), "hidden widths of the network");
    visit("activation", self.activation(), "dice, or relu, gelu, silu, tanh, sigmoid, leaky_relu or identity");
    visit("dropout", self.dropout(), "dropout after each activation of the network");
  }
};

/// Dual attentive sequential learning (Li et al., KDD 2021) over any number of scenes: a user has a vector in each, and
/// the events of all scenes count by what the vector of the row's scene asks of them.
///
///   u_s    the vector of the user in scene s,  M_st a map from scene s to t, s < t
///   h_j  = GRU_r([k_j; u_s])                  over the events of each scene r by themselves, s the scene of the row
///   a    = softmax_j (u_s . tanh(W h_j + b))  over the events of all scenes,   p = sum_j a_j h_j
///   logit = c_s + b_i + b_u,s + MLP([x; p; u_s])
///   loss = task loss + alignment mean (|u_s M_st - u_t|^2 + |u_t M_st' - u_s|^2) / 2U
///        + orthogonality mean_st |M_st M_st' - I|^2 / U
///
/// The first mean is over the users of the batch and the pairs of scenes in which training rows know them. With two
/// scenes this is the paper's idea; x (all fields) stands where it reads the candidate alone. The authors' program has
/// the row's own item among its events, aligns the other scene's past by index and not by time, divides by the weights
/// of both scenes but adds up one, keeps a tenth of the hidden numbers where it means to drop a tenth, and collects no
/// loss of orthogonality; none of that is done here. Shapes: x [B, E], k [L, K], u [B, U], h [L, H].
class DASLImpl : public EventModel {
 public:
  explicit DASLImpl(std::shared_ptr<const data::Schema> schema, DASLOptions options = {});
  std::string name() const override { return "dasl"; }
  OptionMap options_map() const override { return to_map(options); }

  DASLOptions options;
  torch::nn::Embedding users = nullptr;                           ///< u, [S N, U]: N users of scene 0, of scene 1...
  torch::nn::Embedding user_bias = nullptr, item_bias = nullptr;  ///< b_u, [S N, 1], and b_i, [items, 1]
  torch::Tensor scene_intercept;                                  ///< c, [S]
  torch::Tensor maps;                                             ///< M, [S (S - 1) / 2, U, U], orthogonal at first
  torch::nn::ModuleList encoders = nullptr;                       ///< one GRU a scene
  torch::nn::Linear question = nullptr;                           ///< W, [U, H], and b
  nn::DiceMLP network = nullptr;

 protected:
  /// Tells "attention" [B, T], oldest event first, and "events" [B].
  Answer body(const Rows& rows, bool explaining) override;

 private:
  torch::Tensor states(const Behaviour& events, const torch::Tensor& u);  // h
  torch::Tensor aligned(const torch::Tensor& user);                       // what joins the loss, []
  const torch::Tensor& known();                                           // bool [N, S], users with training rows

  std::shared_ptr<const data::History> known_of_;
  torch::Tensor known_, first_, second_;  // scenes of the maps, int64 [S (S - 1) / 2]
};
TORCH_MODULE(DASL);

}  // namespace polyscene::models
