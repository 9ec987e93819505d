#pragma once

#include "polyscene/models/single/field_model.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `XDeepFM`.
struct XDeepFMOptions {
  FieldOptions common;
  /// Feature maps of each layer of the compressed interaction network.
  TORCH_ARG(std::vector<int64_t>, cin) = {16, 16};
  /// Activation between its layers: identity, as the paper found best, relu, ...
  TORCH_ARG(std::string, activation) = "identity";
  /// Hidden widths of the deep part.
  TORCH_ARG(std::vector<int64_t>, hidden) = {128, 128};
  /// Normalisation before each activation: none, batch or layer.
  TORCH_ARG(std::string, norm) = "none";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0.2;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    FieldOptions::fields(self.common, visit);
    visit("cin", self.cin(), "feature maps of each layer of the compressed interaction network");
    visit("activation", self.activation(), "activation between its layers: identity, relu, ...");
    visit("hidden", self.hidden(), "hidden widths of the deep part");
    visit("norm", self.norm(), "normalisation before each activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
  }
};

/// xDeepFM (Lian et al., KDD 2018): a compressed interaction network, a deep network and a linear part.
///
///   X^k_h = act(sum_{i, f} W^k_{h i f} (X^{k-1}_i * X^0_f))         feature maps h, vectors of width D, X^0 = fields
///   logit = b + sum_f w_f + u . z + o . [sum_d X^1; ...; sum_d X^L] + MLP(x)
///
/// Shapes: X^0 [B, F + M, D], X^k [B, H_k, D], x [B, E].
class XDeepFMImpl : public FieldModel {
 public:
  /// Throws ValueError for options out of range.
  explicit XDeepFMImpl(std::shared_ptr<const data::Schema> schema, XDeepFMOptions options = {});
  std::string name() const override { return "xdeepfm"; }
  OptionMap options_map() const override { return to_map(options); }

  XDeepFMOptions options;
  std::vector<torch::Tensor> cin_weight;  ///< W, [F + M, H_k, H_{k-1}]
  torch::Tensor cin_head;                 ///< o, [H_1 + ... + H_L]
  nn::SceneMLP deep = nullptr;

 protected:
  /// Tells "linear", "cin" and "deep", [B] each.
  Answer body(const Rows& rows, bool explaining) override;

 private:
  torch::Tensor interactions(const torch::Tensor& fields) const;  // [B, H_1 + ... + H_L]
};
TORCH_MODULE(XDeepFM);

}  // namespace polyscene::models
