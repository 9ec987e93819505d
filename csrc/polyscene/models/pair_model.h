#pragma once

#include "polyscene/models/ranking_model.h"
#include "polyscene/nn/scene_groups.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// A ranking model whose score is a network over a user and an item. What the network makes of either alone (the halves
/// of a tower's first layer: W [u; i] = W_u u + W_i i) is computed once for each user and once for each item, and then
/// combined, pair by pair or in blocks of all users by all items.
///
/// Shapes: A users, K items a user; n rows, grouped by scene.
class PairModel : public RankingModel {
 public:
  using RankingModel::RankingModel;

  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  bool scores_by_piece() const override { return true; }

 protected:
  using Parts = std::vector<torch::Tensor>;

  /// What of the score is the user's, tensors [n, ...], from rows and scenes, int64 [n] each; what was looked up joins
  /// `looked_up` when it is given, for `embedding_l2`.
  virtual Parts user_parts(const torch::Tensor& user, const torch::Tensor& scene, const nn::SceneGroups& groups,
                           Parts* looked_up) = 0;
  virtual Parts item_parts(const torch::Tensor& item, const torch::Tensor& scene, const nn::SceneGroups& groups,
                           Parts* looked_up) = 0;
  /// Scores [A, K] of user parts [A, 1, ...] with item parts [A, K, ...], or [1, K, ...] that all users share; `groups`
  /// are of the A K pairs.
  virtual torch::Tensor combine(const Parts& user, const Parts& item, const nn::SceneGroups& groups) = 0;

  torch::Tensor pair_scores(const torch::Tensor& user, const torch::Tensor& item, const torch::Tensor& scene) override;
  Scored score_batch(const data::Batch& batch) override;

 private:
  torch::Tensor grouped_scores(const torch::Tensor& user, const torch::Tensor& item, const torch::Tensor& scene,
                               Parts* looked_up);
};

/// Towers over pairs with one output, one for each scene and expert. Throws ValueError without hidden layers.
nn::SceneMLP pair_tower(const char* owner, int64_t input, const std::vector<int64_t>& hidden, double dropout,
                        int64_t scenes = 1, int64_t experts = 1);
/// The halves of the first layer of towers over [x; y], [n, H]: of x [n, D], the leading columns, and of y, the
/// trailing ones.
torch::Tensor leading_half(const nn::SceneMLP& tower, const torch::Tensor& x, const nn::SceneGroups& groups);
torch::Tensor trailing_half(const nn::SceneMLP& tower, const torch::Tensor& y, const nn::SceneGroups& groups);
/// What towers with one output make of two halves, [A, K]: x [A, 1, H], y [A or 1, K, H].
torch::Tensor tower_scores(nn::SceneMLP& tower, const torch::Tensor& x, const torch::Tensor& y,
                           const nn::SceneGroups& groups);
/// Products of vectors x [A, 1, D] with y [A or 1, K, D], [A, K].
torch::Tensor dots(const torch::Tensor& x, const torch::Tensor& y);

/// The row of table `scene` that each id has in `scene_tables` of `rows` rows each.
inline torch::Tensor rows_in(const torch::Tensor& scene, const torch::Tensor& id, int64_t rows) {
  return scene * rows + id;
}
/// `present` [S, n], bool, of ids [n]: whether each has training rows in each scene, [n, S].
torch::Tensor presence_of(const torch::Tensor& present, const torch::Tensor& id);

}  // namespace polyscene::models
