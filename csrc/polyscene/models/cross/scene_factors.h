#pragma once

#include <functional>

#include "polyscene/models/ranking_model.h"

namespace polyscene::models {

/// Factors of its own for each scene, and, once a mapping was learned, vectors from other scenes for users who need
/// them: what the models that map users from scene to scene share.
///
/// A user has been in a scene when it has training pairs there. A phase of factors for each scene comes first, chosen
/// by that scene's validation rows alone. Shapes: S scenes, U users, I items, D factors.
class SceneFactorModel : public FactorModel {
 public:
  void prepare(const data::Table& train) override;
  void begin_phase(const Phase& phase) override;

  torch::nn::Embedding user = nullptr;  ///< P, [S U, D], user u of scene s in row s U + u
  torch::nn::Embedding item = nullptr;  ///< Q, [S I, D]
  torch::Tensor user_rows;              ///< int32 [S, U], training pairs of each user in each scene
  torch::Tensor stage;                  ///< int64 [], 0 while there are factors alone, 1 from the mapping on

 protected:
  /// `map_users`: "cold" or "overlapping". Throws ValueError for another.
  SceneFactorModel(std::shared_ptr<const data::Schema> schema, RankingOptions common, std::string map_users,
                   const char* owner);
  /// A phase for each scene with training pairs.
  std::vector<Phase> factor_phases() const;
  /// These and, where users have been in two scenes or more, one of such users with both tables held: "map".
  std::vector<Phase> with_mapping(int64_t epochs, int64_t batch_size) const;
  /// Mean over the users who have been in both, for every ordered pair of scenes: the sum over pairs of `each`(s, t,
  /// users of both [n]), by the sum of n; `zero` where there is nobody.
  torch::Tensor over_pairs(const torch::Tensor& users, const torch::Tensor& zero,
                           const std::function<torch::Tensor(int64_t, int64_t, const torch::Tensor&)>& each) const;
  /// Mean over the scenes s but `to` where each user has been of `each`(s, those users) [n, D]; 0 without any.
  torch::Tensor over_sources(int64_t to, const torch::Tensor& users,
                             const std::function<torch::Tensor(int64_t, const torch::Tensor&)>& each) const;
  /// Which of `users` have been in the scene: positions, int64.
  torch::Tensor seen_in(int64_t scene, const torch::Tensor& users) const;
  torch::Tensor own_users(int64_t scene, const torch::Tensor& users);  ///< P of one scene, [n, D]
  /// Vectors of users [n, D] in scenes: those of `transferred` for whom the mapping serves, P otherwise.
  torch::Tensor user_factors(const torch::Tensor& users, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up);
  torch::Tensor item_factors(const torch::Tensor& items, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up);
  /// What other scenes say of `users` in scene `to`, [n, D]; each of them has been in another one.
  virtual torch::Tensor transferred(int64_t to, const torch::Tensor& users) = 0;

 private:
  bool cold_only_;
};

}  // namespace polyscene::models
