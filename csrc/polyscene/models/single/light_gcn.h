#pragma once

#include "polyscene/models/single/graph_model.h"

namespace polyscene::models {

/// Options for `LightGCN`.
struct LightGCNOptions {
  RankingOptions common = RankingOptions().embedding_l2(1e-4);
  /// Times that the graph is walked (K).
  TORCH_ARG(int64_t, layers) = 3;
  /// Standard deviation of the initial factors; 0: Glorot's.
  TORCH_ARG(double, init_std) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("layers", self.layers(), "how often the graph is walked");
    visit("init_std", self.init_std(), "standard deviation of the initial factors; 0: that of Glorot and Bengio");
  }
};

/// LightGCN (He et al., SIGIR 2020): factors smoothed over the graph of training pairs of all scenes together.
///
///   A = D^(-1/2) (edges of users and items) D^(-1/2),  X_{k + 1} = A X_k,  X = mean_{k = 0..K} X_k,  s = x_u . x_i
///   loss = BPR + l2 / 2B sum (|X_0|^2 of the rows of the batch)
///
/// A pair that several scenes hold is one edge. The whole graph is walked at every step: large batches pay. Shapes: U
/// users, I items, D factors; memory is (K + 1) (U + I) D numbers.
class LightGCNImpl : public GraphModel {
 public:
  explicit LightGCNImpl(std::shared_ptr<const data::Schema> schema, LightGCNOptions options = {});
  std::string name() const override { return "light_gcn"; }
  OptionMap options_map() const override { return to_map(options); }
  /// Of a user: what each neighbour brings into its vector, times the item's, 1 / (K + 1) a_uj sum_{k < K} X_k[j] .
  /// x_i; what is left of the score is the user's own factors. Of a newcomer: the parts of the ridge solve.
  torch::Tensor reasons(int64_t user, const Met& met, int64_t scene, const torch::Tensor& items) override;

  LightGCNOptions options;

 protected:
  torch::Tensor walk(const torch::Tensor& factors) override;

 private:
  torch::Tensor sent_;  // sum_{k < K} X_k of the last walk, once asked for
};
TORCH_MODULE(LightGCN);

}  // namespace polyscene::models
