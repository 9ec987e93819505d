#pragma once

#include "polyscene/models/graphs.h"
#include "polyscene/models/ranking_model.h"

namespace polyscene::models {

/// Factors of users and items that walk the graph of the training pairs of all scenes together: LightGCN, NGCF, GCN and
/// GAT.
/// Every step walks the whole graph: large batches pay.
class GraphModel : public FactorModel {
 public:
  torch::nn::Embedding user = nullptr;  ///< [U, D]
  torch::nn::Embedding item = nullptr;  ///< [I, D]

  /// Every node is looked up at every step: nothing is sparse.
  std::vector<std::string> table_parameters() const override { return {}; }
  void sparse_gradients(bool) override {}

 protected:
  GraphModel(std::shared_ptr<const data::Schema> schema, RankingOptions common, const char* owner, EdgeWeight weight,
             bool loops, double init_std = 0);
  /// From the factors [U + I, D] to the vectors whose products are scores, [U + I, D'].
  virtual torch::Tensor walk(const torch::Tensor& factors) = 0;
  /// A graph without edges before `prepare`.
  const std::shared_ptr<const nn::SparseMatrix>& graph() const { return graph_; }
  /// Called when there is another graph.
  virtual void graph_changed() {}

  void begin_pass() override;
  torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;

 private:
  EdgeWeight weight_;
  bool loops_;
  std::shared_ptr<const nn::SparseMatrix> graph_;
  std::shared_ptr<const data::Interactions> graph_of_;
  torch::Tensor nodes_;  // [U + I, D'], of the last pass
};

/// A linear layer of Glorot's uniform numbers (AISTATS 2010), its bias 0.
torch::nn::Linear glorot_linear(int64_t in, int64_t out, bool bias = true);

}  // namespace polyscene::models
