#pragma once

#include <vector>

#include "polyscene/data/interactions.h"

namespace polyscene::models {

/// What users with behaviour in two scenes teach of a third one who is known in the first: ridge regression from rows
/// of a source scene to rows of a target scene, in its dual form over the O users of both.
///
///   a_u = x_u / sqrt(n_u) in the source,  y_u = row / sqrt(n_u) in the target,  b the mean of y,  K = A A'
///   taste(u) = k_u (K + ridge I)^-1 (Y - b)
///
/// For one of the O users it is the leave-one-out prediction, in which its own target row takes no part:
/// -sum_{v != u} C_uv (y_v - b_u) / C_uu with C = (K + ridge I)^-1 and b_u the mean of the others. Memory is 8 O^2
/// bytes while it is made, 4 after.
class CrossRidge {
 public:
  /// Throws ValueError for more than 30,000 users in both.
  CrossRidge(const data::Interactions::Scene& source, const data::Interactions::Scene& target, double ridge);

  /// Whether the source knows the user.
  bool knows(int64_t user) const { return source_.degree(user) > 0; }
  /// Weight of each of the O users in the taste of users int64 [n], float32 [n, O]; 0 for users whom the source does
  /// not know.
  torch::Tensor weights(const torch::Tensor& users) const;
  /// What each of a person's items of the source (int64 [m], ascending) adds to these weights, [m, O]. `user` is the
  /// row of the person, 0 for somebody who has none: their items are these.
  torch::Tensor weights_by_item(int64_t user, const torch::Tensor& items) const;
  /// Adds times * sum_v w_v (y_v - b) to `to`, float [I]; `weights` is one row of the above. With `user`, b is without
  /// that user's row.
  void add(const float* weights, float times, float* to, int64_t user = -1) const;

 private:
  data::Interactions::Scene source_, target_;
  torch::Tensor both_;     // int64 [O]
  torch::Tensor place_;    // int64 [U], -1 for users outside
  torch::Tensor inverse_;  // C, [O, O]; undefined without any
  torch::Tensor base_;     // b, [I]
  // Of the O users side by side: 1 / sqrt(n_u) in either scene, and their rows of the target.
  std::vector<float> source_scale_, target_scale_;
  std::vector<int64_t> offset_{0};
  std::vector<int32_t> item_;

  torch::Tensor kernel(const torch::Tensor& users) const;  // [n, O]
};

/// The mean of rows / sqrt(their length) over the users of a scene, float32 [I]: popularity in which heavy users count
/// less.
torch::Tensor mean_row(const data::Interactions::Scene& pairs, const torch::Tensor& users);

}  // namespace polyscene::models
