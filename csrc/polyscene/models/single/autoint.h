#pragma once

#include "polyscene/models/single/field_model.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `AutoInt`.
struct AutoIntOptions {
  FieldOptions common;
  /// Layers of attention (L).
  TORCH_ARG(int64_t, layers) = 3;
  /// Heads of each layer; must divide the width.
  TORCH_ARG(int64_t, heads) = 2;
  /// Width of all heads together (H).
  TORCH_ARG(int64_t, width) = 32;
  /// Hidden widths of a deep part beside the attention; none: no deep part.
  TORCH_ARG(std::vector<int64_t>, hidden) = {};
  /// Normalisation before each activation of the deep part: none, batch or layer.
  TORCH_ARG(std::string, norm) = "none";
  /// Dropout after each activation of the deep part.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    FieldOptions::fields(self.common, visit);
    visit("layers", self.layers(), "layers of attention");
    visit("heads", self.heads(), "heads of each layer; must divide the width");
    visit("width", self.width(), "width of all heads together");
    visit("hidden", self.hidden(), "hidden widths of a deep part beside the attention; none: no deep part");
    visit("norm", self.norm(), "normalisation before each activation of the deep part: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation of the deep part");
  }
};

/// AutoInt (Song et al., CIKM 2019): multi-head self-attention over the fields; with `hidden` AutoInt+.
///
///   a^h_{f, g} = softmax_g((Q_h e_f) . (K_h e_g)),   e'_f = relu([sum_g a^1_{f, g} V_1 e_g; ...] + R e_f)
///   logit      = w . [e_1; ...; e_F] + b + MLP(x)                 e after L layers; MLP with `hidden` alone
///
/// Scores are plain inner products, as in the paper. Shapes: e [B, F + M, D], then [B, F + M, H].
class AutoIntImpl : public FieldModel {
 public:
  /// Throws ValueError for options out of range.
  explicit AutoIntImpl(std::shared_ptr<const data::Schema> schema, AutoIntOptions options = {});
  std::string name() const override { return "autoint"; }
  OptionMap options_map() const override { return to_map(options); }

  AutoIntOptions options;
  std::vector<torch::Tensor> projection;  ///< Q, K, V and R of each layer, [4 H, D] or [4 H, H]
  torch::Tensor attention_head;           ///< w, [(F + M) H]
  nn::SceneMLP deep = nullptr;            ///< with `hidden`

 protected:
  /// Tells the attention of each layer, "attention0" ..., [B, heads, F + M, F + M].
  Answer body(const Rows& rows, bool explaining) override;
};
TORCH_MODULE(AutoInt);

}  // namespace polyscene::models
