#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/scene_gate.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `PLE`.
struct PLEOptions {
  SceneOptions common;
  /// Extraction levels (L).
  TORCH_ARG(int64_t, levels) = 1;
  /// Experts of each scene in each level (N).
  TORCH_ARG(int64_t, specific) = 2;
  /// Experts that all scenes share in each level (M).
  TORCH_ARG(int64_t, shared) = 1;
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
    visit("levels", self.levels(), "extraction levels");
    visit("specific", self.specific(), "experts of each scene in each level");
    visit("shared", self.shared(), "experts that all scenes share in each level");
    visit("expert", self.expert(), "hidden widths of each expert");
    visit("tower", self.tower(), "hidden widths of each tower");
    visit("norm", self.norm(), "normalisation before each activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
    visit("reference", self.reference(), "gates with batch norm, as the public reference has them");
  }
};

/// Progressive layered extraction (Tang et al., RecSys 2020): experts of each scene beside shared ones, in levels.
///
///   z_s  = sum_j softmax(G_s x_s)_j [experts of s on x_s; shared experts on x_0]_j        x_s, x_0 <- z_s, z_0
///   z_0  = sum_j softmax(G_0 x_0)_j [experts of all scenes; shared experts]_j             in all levels but the last
///   logit = MLP_s(z_s)                                                                    level 1: x_s = x_0 = x
///
/// In the last level a row meets the experts of its own scene and the shared ones alone: N + M of them. In the levels
/// before, the shared gate of the paper reads the experts of all scenes, so that all of them run on all rows, and batch
/// norm in them is over all rows; gates of scenes that no later level reads are left out. Gates are linear without
/// bias; the public reference puts batch norm in front of the softmax (`reference`). Shapes: x [B, E], S scenes.
class PLEImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range.
  explicit PLEImpl(std::shared_ptr<const data::Schema> schema, PLEOptions options = {});
  std::string name() const override { return "ple"; }
  OptionMap options_map() const override { return to_map(options); }

  PLEOptions options;
  std::vector<nn::SceneMLP> specific;       ///< of each level: S N experts of one scene, in the last N of each scene
  std::vector<nn::SceneMLP> shared;         ///< M experts of each level
  std::vector<nn::SceneGate> gates;         ///< of each level, over N + M experts
  std::vector<nn::SceneGate> shared_gates;  ///< of each level but the last, over S N + M experts
  nn::SceneMLP towers = nullptr;

 protected:
  /// Tells "gates" of the last level, [B, N + M], those of the row's scene first.
  Answer body(const Rows& rows, bool explaining) override;

 private:
  // What a level reads: of the row's own scene and of the shared part [B, I], of all scenes [B, S, I] where it differs.
  struct Level {
    torch::Tensor own, shared, all;
  };
  Level extract(int64_t level, const Level& in, const Rows& rows);
};
TORCH_MODULE(PLE);

}  // namespace polyscene::models
