#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/hyper_adapter.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `HAMUR`.
struct HAMUROptions {
  SceneOptions common;
  /// Hidden widths of the backbone of each scene.
  TORCH_ARG(std::vector<int64_t>, backbone) = {256, 128};
  /// How many of the last hidden layers an adapter follows.
  TORCH_ARG(int64_t, adapters) = 1;
  /// Inner width of each adapter (A).
  TORCH_ARG(int64_t, adapter) = 32;
  /// Rank of the generated matrices (R).
  TORCH_ARG(int64_t, rank) = 35;
  /// Hidden widths of the hyper-network.
  TORCH_ARG(std::vector<int64_t>, hyper) = {64};
  /// Normalisation before each activation: none, batch or layer.
  TORCH_ARG(std::string, norm) = "batch";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("backbone", self.backbone(), "hidden widths of the backbone of each scene");
    visit("adapters", self.adapters(), "how many of the last hidden layers an adapter follows");
    visit("adapter", self.adapter(), "inner width of each adapter");
    visit("rank", self.rank(), "rank of the generated matrices");
    visit("hyper", self.hyper(), "hidden widths of the hyper-network");
    visit("norm", self.norm(), "normalisation before each activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
  }
};

/// Hyper adapters (HAMUR: Li et al., CIKM 2023): a backbone of each scene, with adapters whose matrices a hyper-network
/// generates for each row.
///
///   I = hyper(x) as [R, R],   h <- relu(norm(W_{s,l} h)),   h <- h + domain_norm_s(adapter_l(h; I)),   logit = w_s . h
///
/// See `HyperAdapter` for the adapter. Hyper-network and adapters are shared; what they add is normalised within each
/// scene, by running statistics in evaluation: the public reference takes those of the batch that is scored. Its
/// hyper-network ends in a relu, this one in a linear layer. Shapes: x [B, E], h [B, M], R rank.
class HAMURImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range.
  explicit HAMURImpl(std::shared_ptr<const data::Schema> schema, HAMUROptions options = {});
  std::string name() const override { return "hamur"; }
  OptionMap options_map() const override { return to_map(options); }

  HAMUROptions options;
  nn::SceneMLP backbone = nullptr;
  nn::SceneMLP hyper = nullptr;
  std::vector<nn::HyperAdapter> adapters;

 protected:
  /// Tells "core", [B, R, R].
  Answer body(const Rows& rows, bool explaining) override;
};
TORCH_MODULE(HAMUR);

}  // namespace polyscene::models
