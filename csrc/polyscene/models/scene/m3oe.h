#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/scene_gate.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `M3oE`.
struct M3oEOptions {
  SceneOptions common;
  /// Width of the star layer.
  TORCH_ARG(int64_t, star) = 128;
  /// Width of what the experts read.
  TORCH_ARG(int64_t, width) = 64;
  /// Experts that all scenes share (K).
  TORCH_ARG(int64_t, experts) = 4;
  /// Hidden widths of each expert.
  TORCH_ARG(std::vector<int64_t>, expert) = {32};
  /// Hidden widths of each tower.
  TORCH_ARG(std::vector<int64_t>, tower) = {32};
  /// Normalisation before each activation: none, batch or layer.
  TORCH_ARG(std::string, norm) = "layer";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("star", self.star(), "width of the star layer");
    visit("width", self.width(), "width of what the experts read");
    visit("experts", self.experts(), "experts that all scenes share");
    visit("expert", self.expert(), "hidden widths of each expert");
    visit("tower", self.tower(), "hidden widths of each tower");
    visit("norm", self.norm(), "normalisation before each activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
  }
};

/// Three mixtures of experts (M3oE: Zhang et al., SIGIR 2024), for several scenes and one task.
///
///   z = MLP((W * W_s) x + b + b_s) + MLP(x)                                                        s the row's scene
///   u = sum_k softmax(G_s sg(z))_k f_k(z)                                                          shared experts
///   v = own f_s(z) + (1 - own) / (S - 1) sum_{j != s} f_j(z),   own = sigmoid(scene_own)           experts of scenes
///   t = sigmoid(task_own) f_task(z)                                                                expert of the task
///   logit = MLP_s(u + sigmoid(scene_share) v + sigmoid(task_share) t)
///
/// A sum over no other scene, or no other task, is 0: one scene works. The four balances learn with the rest; the paper
/// trains them apart, on other rows. W_s starts at 1, so that all scenes start as one. All experts are one mixture, one
/// GEMM a layer. The expert of a scene also learns from rows of the others. Shapes: x [B, E], K shared experts.
class M3oEImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range.
  explicit M3oEImpl(std::shared_ptr<const data::Schema> schema, M3oEOptions options = {});
  std::string name() const override { return "m3oe"; }
  OptionMap options_map() const override { return to_map(options); }

  M3oEOptions options;
  torch::Tensor star_weight, star_bias;  ///< W, [H, E], and b, [H]
  torch::Tensor star_scale, star_shift;  ///< W_s, [S, H, E], and b_s, [S, H]
  nn::SceneMLP star_mlp = nullptr;       ///< over the star layer
  nn::SceneMLP skip = nullptr;           ///< beside it
  nn::SceneMLP experts = nullptr;        ///< K shared ones, then those of scenes, then that of the task
  nn::SceneGate gates = nullptr;         ///< G
  torch::Tensor scene_own, scene_share;  ///< [], both start at 1
  torch::Tensor task_own, task_share;    ///< [], both start at 1
  nn::SceneMLP towers = nullptr;

 protected:
  /// Tells "gates", [B, K], and "balance", [B, S + 1]: the weights of the experts of scenes and of the task.
  Answer body(const Rows& rows, bool explaining) override;

 private:
  torch::Tensor balance() const;
};
TORCH_MODULE(M3oE);

}  // namespace polyscene::models
