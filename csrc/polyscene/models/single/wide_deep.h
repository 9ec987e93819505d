#pragma once

#include "polyscene/models/single/field_model.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `WideDeep`.
struct WideDeepOptions {
  FieldOptions common;
  /// Hidden widths of the deep part.
  TORCH_ARG(std::vector<int64_t>, hidden) = {32, 16, 8};
  /// Normalisation before each activation: none, batch or layer.
  TORCH_ARG(std::string, norm) = "none";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    FieldOptions::fields(self.common, visit);
    visit("hidden", self.hidden(), "hidden widths of the deep part");
    visit("norm", self.norm(), "normalisation before each activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
  }
};

/// Wide & Deep (Cheng et al., DLRS 2016).
///
///   logit = b + sum_f w_f + u . z + MLP(x)
///
/// The wide part is of first order; the hand-made crosses of the paper are columns of the data here. Both parts train
/// with one optimiser. Shapes: x [B, E].
class WideDeepImpl : public FieldModel {
 public:
  explicit WideDeepImpl(std::shared_ptr<const data::Schema> schema, WideDeepOptions options = {});
  std::string name() const override { return "wide_deep"; }
  OptionMap options_map() const override { return to_map(options); }

  WideDeepOptions options;
  nn::SceneMLP deep = nullptr;

 protected:
  /// Tells "linear" and "deep", [B] each.
  Answer body(const Rows& rows, bool explaining) override;
};
TORCH_MODULE(WideDeep);

}  // namespace polyscene::models
