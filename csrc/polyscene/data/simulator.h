#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>

#include "polyscene/data/columns.h"

namespace polyscene::data {

/// Options for `simulate`.
struct SimulatorOptions {
  TORCH_ARG(int64_t, scenes) = 4;
  TORCH_ARG(int64_t, interests) = 20;
  TORCH_ARG(int64_t, users) = 20'000;
  TORCH_ARG(int64_t, events) = 30;
  TORCH_ARG(int64_t, items) = 1'000;
  TORCH_ARG(double, overlap) = 0.5;
  TORCH_ARG(double, stay) = 0.6;
  TORCH_ARG(double, concentration) = 0.3;
  TORCH_ARG(double, likeness) = 0.5;
  TORCH_ARG(double, noise) = 0.1;
  TORCH_ARG(double, drift) = 0.0;
  TORCH_ARG(double, relevance) = 0.5;
  TORCH_ARG(double, strength) = 1.0;
  TORCH_ARG(double, missing) = 0.0;
  TORCH_ARG(int64_t, days) = 90;
  TORCH_ARG(int64_t, sparse_scene) = -1;
  TORCH_ARG(double, sparsity) = 1.0;
  TORCH_ARG(bool, related) = true;
  TORCH_ARG(int64_t, target) = -1;
  TORCH_ARG(int64_t, seed) = 2022;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("scenes", self.scenes(), "number of scenes (S)");
    visit("interests", self.interests(), "number of interests and of item topics (K)");
    visit("users", self.users(), "number of users");
    visit("events", self.events(),
          "mean number of events of a user; each has between half and one and a half times as many");
    visit("items", self.items(), "number of items, shared by all scenes");
    visit("overlap", self.overlap(), "share of users who are active in several scenes");
    visit("stay", self.stay(), "probability that such a user's next event is in the same scene");
    visit("concentration", self.concentration(), "Dirichlet parameter of the rows of the transition matrices");
    visit("likeness", self.likeness(),
          "share of the rows of each transition matrix that all pairs of scenes have in common");
    visit("noise", self.noise(), "probability that the next interest is drawn evenly instead of from the matrix");
    visit("drift", self.drift(), "share of the transition matrices that is replaced from the first to the last day");
    visit("relevance", self.relevance(), "probability that the item shown is of the user's current interest");
    visit("strength", self.strength(),
          "factor on everything that moves a click probability; 0 makes labels coin flips");
    visit("missing", self.missing(), "share of users without an age and of items without a price");
    visit("days", self.days(), "length of the time line");
    visit("sparse_scene", self.sparse_scene(), "scene that few users visit, -1 for none");
    visit("sparsity", self.sparsity(), "share of the users of the sparse scene, and so of its rows, that is kept");
    visit("related", self.related(), "false gives the target scene permuted interests and tastes of its own");
    visit("target", self.target(), "the scene that `related` speaks of, -1 for the last");
    visit("seed", self.seed(), "same seed, same rows, whatever the number of threads");
  }
};

/// Simulated events, and the truth that made them. N rows, S scenes, K interests, I items, U users.
struct Simulation {
  /// One row an event, by user, oldest first. Categorical user_id, item_id, topic, brand, device, segment; numeric age,
  /// price; scene, label (0/1), time (Unix seconds), interest (the user's interest at the event, one a row).
  std::shared_ptr<const Columns> columns;
  torch::Tensor transition;      ///< float64 [S, S, K, K], q(j | i, a, b) on the first day, noise mixed in
  torch::Tensor transition_end;  ///< float64 [S, S, K, K], on the last day; equals `transition` without drift
  torch::Tensor initial;         ///< float64 [S, K], first interest of a user who starts in each scene, noise mixed in
  torch::Tensor scene_topic;     ///< int64 [S, K], the topic that each interest looks for in each scene
  torch::Tensor item_topic;      ///< int64 [I]
  torch::Tensor user_scenes;     ///< bool [U, S], where each user is active
  torch::Tensor probability;     ///< float32 [N], click probability of each row, knowing the row's own interest
  torch::Tensor expected;  ///< float32 [N], click probability knowing only the interest before: the best a model can do
  double next_bayes = 0;   ///< mean over all transitions of max_j q(j | i, a, b): accuracy of the best guess
  torch::Tensor
      next_bayes_scene;  ///< float64 [S], the same over the transitions that end in each scene; NaN without any
};

/// Users whose interests move between scenes by known matrices.
///
/// A user's event in scene a with interest i is followed by one in scene b (a again with probability `stay`, else any
/// other of the user's scenes) with interest j, drawn from
///
///   q(j | i, a, b) = (1 - noise) P[a, b][i, j] + noise / K,    P[a, b][i, :] ~ Dirichlet(concentration)
///
/// so noise is part of the process and argmax_j q is the best guess there is. A share `likeness` of the rows is the
/// same for all (a, b). With drift, P = (1 - drift t) P_first + drift t P_last at time t in [0, 1] of the time line.
/// The event shows an item: with probability `relevance` of the topic that interest j looks for, else of any topic;
/// popular items (weight 1 / rank) more often. Its label is 1 with probability
///
///   sigma(strength (c_b + 2 m + 0.6 quality_item + 0.5 bias_user + 0.7 taste_{user, topic} + 0.3 appeal_{b, topic}
///         + 0.3 effect_brand + 0.3 effect_device + 0.25 age price) - 1.3 strength)
///
/// where m = 1 if the item is of the topic that j looks for, taste_{user, topic} = 0.6 taste_{segment, topic} + 0.8
/// own, and all else is standard normal (c_b has deviation 0.3; age and price are standardised). Users, items and
/// tastes are the same in all scenes, so what rich scenes teach helps a sparse one. With `related` false the target
/// scene is a world apart: matrices into, out of and within it have rows and columns permuted, its interests look for
/// permuted topics, and qualities, tastes, biases and effects are drawn anew.
///
/// A model that predicts the label may use the item, the features and *earlier* events; the interest of the row itself
/// is what the next-interest task predicts. Throws ValueError for options out of range.
Simulation simulate(const SimulatorOptions& options = {});

}  // namespace polyscene::data
