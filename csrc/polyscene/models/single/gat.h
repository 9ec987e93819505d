#pragma once

#include "polyscene/models/single/graph_model.h"
#include "polyscene/nn/graph_attention.h"

namespace polyscene::models {

/// Options for `GAT`.
struct GATOptions {
  RankingOptions common = RankingOptions().embedding_l2(1e-4);
  /// Times that the graph is walked (K).
  TORCH_ARG(int64_t, layers) = 2;
  /// Heads of all layers but the last (H).
  TORCH_ARG(int64_t, heads) = 4;
  /// "last" or "concat".
  TORCH_ARG(std::string, combine) = "concat";
  /// Dropout of the shares of edges.
  TORCH_ARG(double, dropout) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("layers", self.layers(), "how often the graph is walked");
    visit("heads", self.heads(), "heads of all layers but the last, which has one; they divide dim");
    visit("combine", self.combine(), "'concat': factors and layers side by side; 'last': the last layer alone");
    visit("dropout", self.dropout(), "share of the edges that each head drops in training");
  }
};

/// Graph attention (Velickovic et al., ICLR 2018) over the training pairs of all scenes together.
///
///   h = X W,  l_ij = lrelu(a . h_i + c . h_j),  p_ij = softmax of l_ij over j in N(i) and i itself, in each head
///   X'_i = elu(sum_j drop(p_ij) h_j + b),  heads side by side;  s = x_u . x_i
///
/// lrelu has slope 0.2; the last layer has one head and no elu. Nodes without edges gather nothing. Shapes: U users, I
/// items, D factors, H heads of D / H; a step costs O(K (edges D + (U + I) D^2)) and keeps edges * H numbers a layer.
class GATImpl : public GraphModel {
 public:
  explicit GATImpl(std::shared_ptr<const data::Schema> schema, GATOptions options = {});
  std::string name() const override { return "gat"; }
  OptionMap options_map() const override { return to_map(options); }

  GATOptions options;
  torch::nn::ModuleList linears = nullptr;         ///< W of each layer
  std::vector<torch::Tensor> gathering, gathered;  ///< a and c of each layer, [H, D / H]
  std::vector<torch::Tensor> bias;                 ///< b of each layer, [D]

 protected:
  torch::Tensor walk(const torch::Tensor& factors) override;
  void graph_changed() override;

 private:
  std::shared_ptr<const nn::Edges> edges_;
};
TORCH_MODULE(GAT);

}  // namespace polyscene::models
