#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `SharedBottom`.
struct SharedBottomOptions {
  SceneOptions common;
  /// Hidden widths of the bottom.
  TORCH_ARG(std::vector<int64_t>, bottom) = {128};
  /// Hidden widths of each tower.
  TORCH_ARG(std::vector<int64_t>, tower) = {8};
  /// Normalisation before each activation: none, batch or layer.
  TORCH_ARG(std::string, norm) = "batch";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("bottom", self.bottom(), "hidden widths of the bottom");
    visit("tower", self.tower(), "hidden widths of each tower");
    visit("norm", self.norm(), "normalisation before each activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
  }
};

/// Shared bottom (Caruana, "Multitask learning", Machine Learning 28, 1997): one network for all scenes, then a tower
/// of each scene.
///
///   h = MLP(x),   logit = MLP_s(h)       s the row's scene
///
/// A tower sees the rows of its scene alone, and so do the statistics of its batch norm. The public reference runs
/// every tower on every row, whose batch norm then mixes all scenes. Shapes: x [B, E], S scenes.
class SharedBottomImpl : public SceneModel {
 public:
  explicit SharedBottomImpl(std::shared_ptr<const data::Schema> schema, SharedBottomOptions options = {});
  std::string name() const override { return "shared_bottom"; }
  OptionMap options_map() const override { return to_map(options); }

  SharedBottomOptions options;
  nn::SceneMLP bottom = nullptr;
  nn::SceneMLP towers = nullptr;

 protected:
  Answer body(const Rows& rows, bool explaining) override;
};
TORCH_MODULE(SharedBottom);

}  // namespace polyscene::models
