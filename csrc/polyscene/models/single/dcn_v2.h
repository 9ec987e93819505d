#pragma once

#include "polyscene/models/single/field_model.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `DCNv2`.
struct DCNv2Options {
  FieldOptions common;
  /// Cross layers (L).
  TORCH_ARG(int64_t, cross_layers) = 3;
  /// Rank of each cross matrix (r); 0: full.
  TORCH_ARG(int64_t, rank) = 0;
  /// Low-rank experts of each cross layer (K); more than one needs a rank.
  TORCH_ARG(int64_t, experts) = 1;
  /// stacked: the network reads what the cross layers make; parallel: both read x.
  TORCH_ARG(std::string, structure) = "stacked";
  /// Hidden widths of the deep part; none and stacked: cross layers alone.
  TORCH_ARG(std::vector<int64_t>, hidden) = {256, 256};
  /// Normalisation before each activation: none, batch or layer.
  TORCH_ARG(std::string, norm) = "batch";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0.2;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    FieldOptions::fields(self.common, visit);
    visit("cross_layers", self.cross_layers(), "cross layers");
    visit("rank", self.rank(), "rank of each cross matrix; 0: full");
    visit("experts", self.experts(), "low-rank experts of each cross layer; more than one needs a rank");
    visit("structure", self.structure(),
          "stacked: the network reads what the cross layers make; parallel: both read the input");
    visit("hidden", self.hidden(), "hidden widths of the deep part; none and stacked: cross layers alone");
    visit("norm", self.norm(), "normalisation before each activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
  }
};

/// Deep & cross network, version 2 (Wang et al., WWW 2021).
///
///   full      x_{l+1} = x_0 * (W_l x_l + b_l) + x_l
///   rank r    x_{l+1} = x_0 * (U_l V_l^T x_l + b_l) + x_l
///   K experts x_{l+1} = x_0 * (sum_k softmax(G_l x_l)_k U_lk tanh(C_lk tanh(V_lk^T x_l)) + b_l) + x_l
///   stacked   logit = MLP(x_L)                    parallel   logit = w . x_L + MLP(x_0)
///
/// Cross matrices start uniform after Glorot & Bengio (AISTATS 2010), biases at 0. The gates are of each layer, as in
/// the paper; a public reference shares one set. Shapes: x [B, E].
class DCNv2Impl : public FieldModel {
 public:
  /// Throws ValueError for options out of range.
  explicit DCNv2Impl(std::shared_ptr<const data::Schema> schema, DCNv2Options options = {});
  std::string name() const override { return "dcn_v2"; }
  OptionMap options_map() const override { return to_map(options); }

  DCNv2Options options;
  std::vector<torch::Tensor> cross_down;  ///< V of all experts, [K r, E]; with rank. W and b are the base's
  std::vector<torch::Tensor> cross_core;  ///< C, [K, r, r]; with experts
  std::vector<torch::Tensor> cross_up;    ///< U of all experts, [E, K r]; with rank
  std::vector<torch::Tensor> cross_gate;  ///< G, [K, E]; with experts
  nn::SceneMLP deep = nullptr;

 protected:
  /// Tells "crossed", x_L [B, E], and with experts "gates" [B, L, K].
  Answer body(const Rows& rows, bool explaining) override;

 private:
  torch::Tensor cross(int64_t layer, const torch::Tensor& x, std::vector<torch::Tensor>& gates) const;
};
TORCH_MODULE(DCNv2);

}  // namespace polyscene::models
