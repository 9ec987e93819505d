#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/scene_gate.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `MMoE`.
struct MMoEOptions {
  SceneOptions common;
  /// Experts that all scenes share; 0: as many as scenes.
  TORCH_ARG(int64_t, experts) = 0;
  /// Hidden widths of each expert.
  TORCH_ARG(std::vector<int64_t>, expert) = {16};
  /// Hidden widths of each tower.
  TORCH_ARG(std::vector<int64_t>, tower) = {8};
  /// Normalisation before each activation: none, batch or layer.
  TORCH_ARG(std::string, norm) = "batch";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0;
  /// Gates with batch norm in front of the softmax, as the public reference has them.
  TORCH_ARG(bool, reference) = false;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("experts", self.experts(), "experts that all scenes share; 0: as many as scenes");
    visit("expert", self.expert(), "hidden widths of each expert");
    visit("tower", self.tower(), "hidden widths of each tower");
    visit("norm", self.norm(), "normalisation before each activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
    visit("reference", self.reference(), "gates with batch norm, as the public reference has them");
  }
};

/// Multi-gate mixture of experts (Ma et al., KDD 2018): experts that all scenes share, mixed by a gate of each scene.
///
///   f_k = MLP_k(x),   z = sum_k softmax(W_s x)_k f_k,   logit = MLP_s(z)       s the row's scene
///
/// Gates are linear without bias, as in the paper; the public reference puts batch norm in front of the softmax
/// (`reference`). Each expert is drawn on its own: equal ones would stay equal. Shapes: x [B, E], K experts.
class MMoEImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range.
  explicit MMoEImpl(std::shared_ptr<const data::Schema> schema, MMoEOptions options = {});
  std::string name() const override { return "mmoe"; }
  OptionMap options_map() const override { return to_map(options); }

  MMoEOptions options;
  nn::SceneMLP experts = nullptr;
  nn::SceneGate gates = nullptr;
  nn::SceneMLP towers = nullptr;

 protected:
  /// Tells "gates", [B, K].
  Answer body(const Rows& rows, bool explaining) override;
};
TORCH_MODULE(MMoE);

}  // namespace polyscene::models
