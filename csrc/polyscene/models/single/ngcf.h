#pragma once

#include "polyscene/models/single/graph_model.h"

namespace polyscene::models {

/// Options for `NGCF`.
struct NGCFOptions {
  RankingOptions common = RankingOptions().embedding_l2(1e-5);
  /// Times that the graph is walked (K).
  TORCH_ARG(int64_t, layers) = 3;
  /// "paper", "authors" or "recbole".
  TORCH_ARG(std::string, form) = "paper";
  /// Dropout of a layer's features.
  TORCH_ARG(double, dropout) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("layers", self.layers(), "how often the graph is walked");
    visit("form", self.form(),
          "'paper': one activation of both sums; 'authors': one each, over D^-1 (A + I); 'recbole': as the paper, but "
          "each layer reads the last one's normalised rows");
    visit("dropout", self.dropout(), "share of the features that each layer drops in training");
  }
};

/// Neural graph collaborative filtering (Wang et al., SIGIR 2019) on the training pairs of all scenes together.
///
///   paper:   S = D^-1/2 A D^-1/2 X,  X' = drop(lrelu((X + S) W_1 + b_1 + (X * S) W_2 + b_2))
///   authors: S = D^-1 (A + I) X,     X' = drop(lrelu(S W_1 + b_1) + lrelu((X * S) W_2 + b_2))
///   x = [X_0; X_1 / |X_1|; ..; X_K / |X_K|],  s = x_u . x_i
///
/// lrelu has slope 0.2. Shapes: U users, I items, D factors; a step costs O(K (edges D + (U + I) D^2)).
class NGCFImpl : public GraphModel {
 public:
  explicit NGCFImpl(std::shared_ptr<const data::Schema> schema, NGCFOptions options = {});
  std::string name() const override { return "ngcf"; }
  OptionMap options_map() const override { return to_map(options); }

  NGCFOptions options;
  torch::nn::ModuleList sums = nullptr;      ///< W_1, b_1 of each layer
  torch::nn::ModuleList products = nullptr;  ///< W_2, b_2 of each layer

 protected:
  torch::Tensor walk(const torch::Tensor& factors) override;
};
TORCH_MODULE(NGCF);

}  // namespace polyscene::models
