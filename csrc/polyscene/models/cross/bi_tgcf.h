#pragma once

#include <functional>

#include "polyscene/models/ranking_model.h"
#include "polyscene/nn/scene_propagation.h"

namespace polyscene::models {

/// Options for `BiTGCF`.
struct BiTGCFOptions {
  RankingOptions common = RankingOptions().loss("bce").embedding_l2(1e-3);
  /// Times that the graph is walked (L).
  TORCH_ARG(int64_t, layers) = 2;
  /// Share of a scene's own features in what it exchanges with the others.
  TORCH_ARG(double, own) = 0.8;
  /// "symmetric" or "mean".
  TORCH_ARG(std::string, graph) = "symmetric";
  /// "both", "users" or "none".
  TORCH_ARG(std::string, exchange) = "both";
  /// "concat" or "mean".
  TORCH_ARG(std::string, combine) = "concat";
  /// Dropout of a layer's features.
  TORCH_ARG(double, dropout) = 0.3;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("layers", self.layers(), "how often the graph is walked");
    visit("own", self.own(), "share of a scene's own features in what it exchanges with the others (lambda)");
    visit("graph", self.graph(),
          "'symmetric': a node keeps its features and gathers by D^-1/2 A D^-1/2; 'mean': it gathers by D^-1 (A + I), "
          "as the authors' code");
    visit("exchange", self.exchange(),
          "who exchanges features between scenes: 'both' users and items, 'users', 'none'");
    visit("combine", self.combine(), "'concat': the layers side by side; 'mean': their mean");
    visit("dropout", self.dropout(), "share of the features that each layer drops in training");
  }
};

/// BiTGCF (Liu et al., CIKM 2020) over any number of scenes: a table and a graph for each, and an exchange after every
/// layer between the scenes where a user or item has training rows.
///
///   S^s = A^s X^s,  Y^s = drop(X^s + S^s + S^s * X^s)                                 ('mean': S^s + S^s * X^s)
///   shared, C its scenes, n = |C|:  X^s <- 1/2 (own Y^s + (1 - own) / (n - 1) sum_{t in C, t != s} Y^t)
///                                        + 1/2 sum_{t in C} d^t Y^t / sum_{t in C} d^t
///   else X^s <- Y^s;   x = [X_0; X_1 / |X_1|; ..; X_L / |X_L|],   s(u, i, s) = x_u^s . x_i^s
///
/// d^s is the number of training pairs in scene s. With two scenes it is the paper's model in both directions. Who has
/// rows in other scenes only reads sum_t d^t X^t / sum_t d^t there, and the own row of the table is never looked at;
/// who has none anywhere is a node without edges. Without shared users and items each scene trains a model of its own.
/// Shapes: B batch, D factors; P nodes are the users and items of each scene with rows there; a step costs
/// O(L (edges + P) D) time and O(L P D) memory, whatever the batch: large batches pay.
class BiTGCFImpl : public RankingModel, public ServesByVectors {
 public:
  explicit BiTGCFImpl(std::shared_ptr<const data::Schema> schema, BiTGCFOptions options = {});
  void encode() override;
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  bool scores_by_piece() const override { return true; }
  std::string name() const override { return "bi_tgcf"; }
  OptionMap options_map() const override { return to_map(options); }

  BiTGCFOptions options;
  torch::nn::Embedding user = nullptr;  ///< [S * U, D]
  torch::nn::Embedding item = nullptr;  ///< [S * I, D]

 protected:
  torch::Tensor pair_scores(const torch::Tensor& user, const torch::Tensor& item, const torch::Tensor& scene) override;
  Scored score_batch(const data::Batch& batch) override;
  torch::Tensor vectors_of_users(int64_t scene, const torch::Tensor& ids) override;
  torch::Tensor vectors_of_items(int64_t scene, const torch::Tensor& ids) override;
  const data::Interactions& trained_on() const override { return known(); }

 private:
  /// Where the entities of one side lie among the nodes.
  struct Side {
    torch::Tensor rows;    // int64, table rows that are nodes, ascending
    torch::Tensor node;    // int64 [S * N], -1 for none
    torch::Tensor degree;  // float [S, N], training pairs
    int64_t size = 0;      // N
  };
  using Take = std::function<torch::Tensor(const torch::Tensor&)>;  // nodes [n] to [n, L + 1, D]

  void make_graph();
  Side side(const std::vector<torch::Tensor>& degrees, int64_t first) const;
  torch::Tensor initial();  // X_0, [P, D]
  /// Nodes [n], -1 for guests: those who have rows in other scenes only.
  torch::Tensor nodes(const Side& side, const torch::Tensor& id, const torch::Tensor& scene) const;
  /// Features in every layer of both sides, [n, L + 1, D], with guests' from the scenes where they have rows.
  torch::Tensor features(const torch::Tensor& user_nodes, const torch::Tensor& user, const torch::Tensor& item_nodes,
                         const torch::Tensor& item, const Take& take) const;
  torch::Tensor finished(const torch::Tensor& features) const;  // [n, L + 1, D] to [n, D']
  /// Vectors of users and of items, of the last `encode`.
  std::pair<torch::Tensor, torch::Tensor> encoded(int64_t scene, const torch::Tensor& users,
                                                  const torch::Tensor& items);

  bool made_ = false;
  std::shared_ptr<const data::Interactions> made_of_;
  Side users_, items_;
  nn::SceneGraph graph_;
  nn::Propagation how_;
  torch::Tensor layers_;    // of all nodes when `encode` was last called, [P, L + 1, D]
  torch::Tensor finished_;  // what scores are made of, [P, D']
  Origin encoded_of_;
};
TORCH_MODULE(BiTGCF);

}  // namespace polyscene::models
