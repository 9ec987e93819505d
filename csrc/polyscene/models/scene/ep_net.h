#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/gate_nu.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `EPNet`.
struct EPNetOptions {
  SceneOptions common;
  /// Hidden width of the gate; 0: that of the input.
  TORCH_ARG(int64_t, gate) = 0;
  /// Hidden widths of the predictor.
  TORCH_ARG(std::vector<int64_t>, tower) = {128, 64, 32};
  /// Normalisation before each activation of the predictor: none, batch or layer.
  TORCH_ARG(std::string, norm) = "batch";
  /// Dropout after each activation of the predictor.
  TORCH_ARG(double, dropout) = 0;
  /// A linear predictor, as the public reference has it, whatever `tower` says.
  TORCH_ARG(bool, reference) = false;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("gate", self.gate(), "hidden width of the gate; 0: that of the input");
    visit("tower", self.tower(), "hidden widths of the predictor");
    visit("norm", self.norm(), "normalisation before each activation of the predictor: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation of the predictor");
    visit("reference", self.reference(), "a linear predictor, as the public reference has it");
  }
};

/// Embeddings that the scene gates: the EPNet of PEPNet (Chang et al., KDD 2023).
///
///   delta = GateNU([c_s; sg(x)]),   logit = MLP(delta * x)       s the row's scene, sg stops the gradient
///
/// The scene acts through its embedding c_s alone; the predictor is shared. The gate starts at 1. The public reference
/// hands the widths of the predictor to another argument and so fits a linear one (`reference`). Shapes: x [B, E],
/// c [S, D].
class EPNetImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range.
  explicit EPNetImpl(std::shared_ptr<const data::Schema> schema, EPNetOptions options = {});
  std::string name() const override { return "ep_net"; }
  OptionMap options_map() const override { return to_map(options); }

  EPNetOptions options;
  torch::Tensor scene_prior;  ///< c, [S, D]
  nn::GateNU gate = nullptr;
  nn::SceneMLP tower = nullptr;

 protected:
  /// Tells "gate", [B, E].
  Answer body(const Rows& rows, bool explaining) override;
};
TORCH_MODULE(EPNet);

}  // namespace polyscene::models
