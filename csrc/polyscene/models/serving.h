#pragma once

#include <torch/torch.h>

#include "polyscene/data/batch.h"
#include "polyscene/data/interactions.h"

namespace polyscene::models {

/// What people met, whether a model has rows for them or not, every pair once: those of person n lie in
/// [offsets[n], offsets[n + 1]). P people, L pairs.
struct Met {
  torch::Tensor offsets;  ///< int64 [P + 1]
  torch::Tensor item;     ///< int64 [L], rows of the item vocabulary
  torch::Tensor scene;    ///< int64 [L]

  int64_t people() const { return offsets.numel() - 1; }
  /// Positions of one person's pairs, all or those of one scene, int64.
  torch::Tensor positions(int64_t person, int64_t scene = -1) const;
  /// One person's items of one scene; of all scenes (-1) every item once. int64, ascending.
  torch::Tensor items(int64_t person, int64_t scene) const;
};

/// Beside Model: scores newcomers, people of whom training knew nothing, from what they met.
class ServesNewcomers {
 public:
  virtual ~ServesNewcomers() = default;
  /// Scores of `items` (int64 [C], ascending) in a scene, [P, C]. After `encode`.
  virtual torch::Tensor score_newcomers(const Met& met, int64_t scene, const torch::Tensor& items) = 0;
};

/// Beside Model: knows which items are alike.
class FindsSimilar {
 public:
  virtual ~FindsSimilar() = default;
  /// How alike `items` (int64 [C], ascending) of scene `to` are to an item of scene `from`, [C]; -inf where the model
  /// cannot compare. After `encode`.
  virtual torch::Tensor similarity(int64_t item, int64_t from, int64_t to, const torch::Tensor& items) = 0;
};

/// Beside Model: knows which of a person's pairs carried a score.
class GivesReasons {
 public:
  virtual ~GivesReasons() = default;
  /// What each pair of one person adds to the scores of `items` (int64 [C]) in a scene, [C, L]. `user` is the row of
  /// somebody whose training pairs these are, 0 a newcomer. After `encode`.
  virtual torch::Tensor reasons(int64_t user, const Met& met, int64_t scene, const torch::Tensor& items) = 0;
};

/// Beside Model: scores people from what they did in order, whether it has rows for them or not (task sequence).
class FollowsEvents {
 public:
  virtual ~FollowsEvents() = default;
  /// Scores of `items` (int64 [C], ascending) in a scene for people with these events, one list a person, [P, C].
  virtual torch::Tensor score_events(const data::Events& events, int64_t scene, const torch::Tensor& items) = 0;
};

/// The first three for scores that are products of a vector of the user and one of the item. Newcomers are folded in by
/// one ridge solve on the item vectors, which stay (after Hu, Koren and Volinsky, ICDM 2008, where every item that was
/// not met counts a little against them):
///
///   M = sum_{j met} q_j q_j' + 1/20 (S + tr(S) / D' I),   S = sum over all items of q q'
///   p = g M^-1 sum_{j met} q_j,   s(i) = p . q_i (+ b_i),   part of j in s(i) = g q_i' M^-1 q_j
///
/// g gives p the mean length of the users whom training knew. Where scenes have spaces of their own, p comes from the
/// items met in the scene, else it is the mean over the other scenes of what the model moves from there; parts are then
/// differences: the score less the score without the pair. Shapes: D' width of the vectors.
class ServesByVectors : public ServesNewcomers, public FindsSimilar, public GivesReasons {
 public:
  torch::Tensor score_newcomers(const Met& met, int64_t scene, const torch::Tensor& items) override;
  /// Cosine of the vectors; -inf between spaces that are not one.
  torch::Tensor similarity(int64_t item, int64_t from, int64_t to, const torch::Tensor& items) override;
  torch::Tensor reasons(int64_t user, const Met& met, int64_t scene, const torch::Tensor& items) override;

 protected:
  /// Vectors of `ids` (int64 [n]) in a scene, [n, D'].
  virtual torch::Tensor vectors_of_users(int64_t scene, const torch::Tensor& ids) = 0;
  virtual torch::Tensor vectors_of_items(int64_t scene, const torch::Tensor& ids) = 0;
  /// What an item's score has besides, [n]; undefined: nothing.
  virtual torch::Tensor offsets_of_items(int64_t, const torch::Tensor&) { return {}; }
  virtual const data::Interactions& trained_on() const = 0;
  /// Whether a user's vector means the same in all scenes.
  virtual bool one_space() const { return true; }
  /// The vector of somebody, [1, D'], from the items' of one space, [m, D'], and S of it, [D', D'].
  virtual torch::Tensor folded(const torch::Tensor& met, const torch::Tensor& square) const;
  /// A newcomer's vector [1, D'], made of `items` of scene `from`, in scene `to`. Called without `one_space`.
  virtual torch::Tensor moved(int64_t from, int64_t to, const torch::Tensor& vector, const torch::Tensor& items);

 private:
  struct Space {
    torch::Tensor square;  // S, float64 [D', D']
    double length = 0;     // of users' vectors, their mean
  };
  Space space(int64_t scene);  // -1: of all scenes
  torch::Tensor vector_of(const Met& met, int64_t person, int64_t scene, const std::vector<Space>& spaces);
  std::vector<Space> spaces();
};

}  // namespace polyscene::models
