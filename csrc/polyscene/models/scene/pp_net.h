#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/gate_nu.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `PPNet`.
struct PPNetOptions {
  SceneOptions common;
  /// Categorical fields that the gates read as they are; []: user and item.
  TORCH_ARG(std::vector<std::string>, prior) = {};
  /// Hidden width of each gate; 0: that of the layer it scales.
  TORCH_ARG(int64_t, gate) = 0;
  /// Hidden widths of each tower.
  TORCH_ARG(std::vector<int64_t>, tower) = {128, 64, 32};
  /// Normalisation before each activation of the towers: none, batch or layer.
  TORCH_ARG(std::string, norm) = "batch";
  /// Dropout after each activation of the towers.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("prior", self.prior(), "categorical fields that the gates read as they are; []: user and item");
    visit("gate", self.gate(), "hidden width of each gate; 0: that of the layer it scales");
    visit("tower", self.tower(), "hidden widths of each tower");
    visit("norm", self.norm(), "normalisation before each activation of the towers: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation of the towers");
  }
};

/// Towers whose layers are scaled for each user and item: the PPNet of PEPNet (Chang et al., KDD 2023).
///
///   delta_{s,l} = GateNU_{s,l}([prior; sg(rest)])                                s the row's scene, sg stops gradients
///   h_0 = x,   h_l = delta_{s,l} * relu(norm(W_{s,l} h_{l-1})),   logit = w_s . h_L + b_s
///
/// prior: the embeddings of user and item, or of the fields that `prior` names; rest: what else x holds. The gates
/// start at 1. In the public reference the towers read the rest without a gradient as well, so that its tables stay as
/// they were drawn; here every table learns. Shapes: x [B, E].
class PPNetImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range, and for data without user and item where `prior` names no field.
  explicit PPNetImpl(std::shared_ptr<const data::Schema> schema, PPNetOptions options = {});
  std::string name() const override { return "pp_net"; }
  OptionMap options_map() const override { return to_map(options); }

  PPNetOptions options;
  nn::GateNU gates = nullptr;
  nn::SceneMLP towers = nullptr;

 protected:
  /// Tells "gates", [B, sum of the towers' widths].
  Answer body(const Rows& rows, bool explaining) override;

 private:
  struct Run {
    int64_t begin, length;
  };
  std::vector<Run> prior_, rest_;  // neighbouring columns of x
};
TORCH_MODULE(PPNet);

}  // namespace polyscene::models
