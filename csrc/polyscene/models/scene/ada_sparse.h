#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `AdaSparse`.
struct AdaSparseOptions {
  SceneOptions common;
  /// Hidden widths of the backbone.
  TORCH_ARG(std::vector<int64_t>, hidden) = {32, 32};
  /// Weighting factors: binary, scaling or fusion.
  TORCH_ARG(std::string, form) = "fusion";
  /// Factors below are 0.
  TORCH_ARG(double, epsilon) = 0.25;
  /// Upper bound of factors that scale.
  TORCH_ARG(double, beta) = 2;
  /// How steep the sigmoid starts, with binary and fusion.
  TORCH_ARG(double, alpha) = 1;
  /// What every training step adds to alpha.
  TORCH_ARG(double, growth) = 1e-4;
  /// Weight of the sparsity term; 0: none.
  TORCH_ARG(double, sparsity) = 1;
  /// Share of pruned factors below which the sparsity term sets in.
  TORCH_ARG(double, least) = 0.15;
  /// Share of pruned factors above which the sparsity term sets in.
  TORCH_ARG(double, most) = 0.25;
  /// Normalisation before each activation: none, batch or layer.
  TORCH_ARG(std::string, norm) = "batch";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0.2;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("hidden", self.hidden(), "hidden widths of the backbone");
    visit("form", self.form(), "weighting factors: binary (0 or 1), scaling, or fusion of both");
    visit("epsilon", self.epsilon(), "factors below are 0");
    visit("beta", self.beta(), "upper bound of the factors of scaling and fusion");
    visit("alpha", self.alpha(), "how steep the sigmoid of binary and fusion starts");
    visit("growth", self.growth(), "what every training step adds to alpha");
    visit("sparsity", self.sparsity(), "weight of the sparsity term; 0: none");
    visit("least", self.least(), "share of pruned factors below which the sparsity term sets in");
    visit("most", self.most(), "share of pruned factors above which the sparsity term sets in");
    visit("norm", self.norm(), "normalisation before each activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
  }
};

/// AdaSparse (Yang et al., CIKM 2022, arXiv:2206.13108): one network whose neurons each scene prunes for itself, layer
/// by layer and row by row.
///
///   u_l = P_l [t_s; h_l],   h_l <- pi_l h_l in front of layer l, h_0 = x; layer 0 reads t_s as well
///   binary:   pi = 1[sigma(alpha u) > epsilon]
///   scaling:  v = beta sigma(u),         pi = v 1[v > epsilon]
///   fusion:   v = beta sigma(alpha u),   pi = v 1[v > epsilon]
///   loss += sparsity sum_l (r_sl - (least + most) / 2)^2,  mean over rows, where r_sl lies outside [least, most]
///
/// r_sl is the share of factors of layer l that are 0 among the batch's rows of scene s (in the binary form that is the
/// paper's 1 - |pi|_1 / n; in the others |pi|_1 would count a factor of 2 as two that stay). Steps pass gradients
/// straight through (`nn::prune`). alpha is a buffer that training alone moves. The public reference takes sign(v -
/// epsilon) for the step, which turns weak neurons round instead of pruning them, and has no sparsity term. Shapes: x
/// [B, E], t [S, D].
class AdaSparseImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range.
  explicit AdaSparseImpl(std::shared_ptr<const data::Schema> schema, AdaSparseOptions options = {});
  std::string name() const override { return "ada_sparse"; }
  OptionMap options_map() const override { return to_map(options); }

  AdaSparseOptions options;
  torch::Tensor scene_vectors;                            ///< t, [S, D]
  std::vector<torch::Tensor> pruner_scene, pruner_state;  ///< P of each layer: [N, D] and [N, N]
  nn::SceneMLP backbone = nullptr;
  torch::Tensor alpha;  ///< [], a buffer

 protected:
  /// Tells "pruned", [B, layers]: the share of factors that are 0 in front of each layer.
  Answer body(const Rows& rows, bool explaining) override;

 private:
  torch::Tensor penalty(const torch::Tensor& kept, const nn::SceneGroups& groups) const;
};
TORCH_MODULE(AdaSparse);

}  // namespace polyscene::models
