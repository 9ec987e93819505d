#pragma once

#include "polyscene/models/single/field_model.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `DeepFM`.
struct DeepFMOptions {
  FieldOptions common;
  /// Hidden widths of the deep part.
  TORCH_ARG(std::vector<int64_t>, hidden) = {128, 128, 128};
  /// Normalisation before each activation: none, batch or layer.
  TORCH_ARG(std::string, norm) = "none";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0.2;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    FieldOptions::fields(self.common, visit);
    visit("hidden", self.hidden(), "hidden widths of the deep part");
    visit("norm", self.norm(), "normalisation before each activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
  }
};

/// DeepFM (Guo et al., IJCAI 2017): a factorisation machine and a deep network on the same embeddings.
///
///   logit = b + sum_f w_f + u . z + sum_{f < g} v_f . v_g + MLP(x)
///
/// Numeric columns are fields whose vector is their value times a vector of their own; the deep part reads their
/// values. Shapes: v [B, F + M, D], x [B, E].
class DeepFMImpl : public FieldModel {
 public:
  explicit DeepFMImpl(std::shared_ptr<const data::Schema> schema, DeepFMOptions options = {});
  std::string name() const override { return "deep_fm"; }
  OptionMap options_map() const override { return to_map(options); }

  DeepFMOptions options;
  nn::SceneMLP deep = nullptr;

 protected:
  /// Tells "linear", "pairs" and "deep", [B] each.
  Answer body(const Rows& rows, bool explaining) override;
};
TORCH_MODULE(DeepFM);

}  // namespace polyscene::models
