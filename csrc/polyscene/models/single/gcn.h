#pragma once

#include "polyscene/models/single/graph_model.h"

namespace polyscene::models {

/// Options for `GCN`.
struct GCNOptions {
  RankingOptions common = RankingOptions().embedding_l2(1e-4);
  /// Times that the graph is walked (K).
  TORCH_ARG(int64_t, layers) = 2;
  /// "last" or "concat".
  TORCH_ARG(std::string, combine) = "concat";
  /// Dropout of a layer's features.
  TORCH_ARG(double, dropout) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("layers", self.layers(), "how often the graph is walked");
    visit("combine", self.combine(), "'concat': factors and layers side by side; 'last': the last layer alone");
    visit("dropout", self.dropout(), "share of the features that each layer reads that is dropped in training");
  }
};

/// Graph convolutions (Kipf and Welling, ICLR 2017) over the training pairs of all scenes together.
///
///   X_{k + 1} = lrelu(A drop(X_k) W + b),  A = D^-1/2 (edges + I) D^-1/2,  s = x_u . x_i
///
/// lrelu has slope 0.2 and is left out of the last layer; D counts the loops. Nodes without edges gather nothing.
/// Shapes: U users, I items, D factors; a step costs O(K (edges D + (U + I) D^2)).
class GCNImpl : public GraphModel {
 public:
  explicit GCNImpl(std::shared_ptr<const data::Schema> schema, GCNOptions options = {});
  std::string name() const override { return "gcn"; }
  OptionMap options_map() const override { return to_map(options); }

  GCNOptions options;
  torch::nn::ModuleList linears = nullptr;  ///< W and b of each layer

 protected:
  torch::Tensor walk(const torch::Tensor& factors) override;
};
TORCH_MODULE(GCN);

}  // namespace polyscene::models
