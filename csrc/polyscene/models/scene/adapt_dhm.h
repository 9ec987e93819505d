#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/reorder.h"

namespace polyscene::models {

/// Options for `AdaptDHM`.
struct AdaptDHMOptions {
  SceneOptions common;
  /// Clusters (K).
  TORCH_ARG(int64_t, clusters) = 3;
  /// Hidden widths of each cluster's network.
  TORCH_ARG(std::vector<int64_t>, hidden) = {64, 64};
  /// Share of a centre that one routing step leaves.
  TORCH_ARG(double, beta) = 0.9;
  /// Routing steps of each training step.
  TORCH_ARG(int64_t, steps) = 3;
  /// Temperature of the routing.
  TORCH_ARG(double, temperature) = 0.05;
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("clusters", self.clusters(), "clusters that take the place of scenes");
    visit("hidden", self.hidden(), "hidden widths of each cluster's network");
    visit("beta", self.beta(), "share of a centre that one routing step leaves");
    visit("steps", self.steps(), "routing steps of each training step");
    visit("temperature", self.temperature(), "temperature of the routing; 1: the paper's softmax as it stands");
    visit("dropout", self.dropout(), "dropout after each activation");
  }
};

/// AdaptDHM (Li et al., arXiv:2211.12105): learned clusters take the place of scenes; a row goes to the network of its
/// nearest centre.
///
///   xi = x / |x|,  k* = argmax_k xi . c_k,  logit = MLP with weights W_0 * W_{k*}, biases b_0 + b_{k*}
///   training, `steps` times:  r = softmax_k(xi . c_k / temperature)
///                             c_k <- unit(beta c_k + (1 - beta) sum_b r_bk xi_b / sum_b r_bk)
///
/// W_0, b_0 are what the clusters share. Centres are a buffer of unit rows that training alone moves, without gradient:
/// the choice has none. Rows are gathered by cluster, so that each costs one network and a cluster's layer one GEMM.
/// The public reference sums over the batch instead of averaging, which swamps beta c, keeps centres out of the state
/// dict and runs all networks on all rows. Between unit vectors a softmax at temperature 1 is all but uniform and lets
/// the centres fall together. Scenes enter with `scene_field`. Shapes: x [B, E], c [K, E].
class AdaptDHMImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range.
  explicit AdaptDHMImpl(std::shared_ptr<const data::Schema> schema, AdaptDHMOptions options = {});
  std::string name() const override { return "adapt_dhm"; }
  OptionMap options_map() const override { return to_map(options); }

  AdaptDHMOptions options;
  torch::Tensor centres;                                  ///< c, [K, E], a buffer
  std::vector<torch::Tensor> shared_weight, shared_bias;  ///< W_0 [O, I] and b_0 [O] of each layer
  std::vector<torch::Tensor> weight, bias;                ///< W [K, O, I] and b [K, O] of each layer

 protected:
  /// Tells "cluster", [B], and "similarity", [B, K].
  Answer body(const Rows& rows, bool explaining) override;

 private:
  torch::Tensor similarity(const torch::Tensor& x);
};
TORCH_MODULE(AdaptDHM);

}  // namespace polyscene::models
