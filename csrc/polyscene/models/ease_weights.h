#pragma once

#include "polyscene/data/interactions.h"

namespace polyscene::models {

/// The closed form of EASE (Steck, WWW 2019) for the pairs of one scene, solved on the smaller side.
///
///   P = (X'X + l2 I)^-1,  B = I - P / diag(P),  x_u B = x_u - (x_u P) / diag(P)
///
/// With fewer users than items K = (X X' + l2 I)^-1 gives X P = K X and diag(P)_i = (1 - x_i' K x_i) / l2.
class EaseWeights {
 public:
  /// Pairs are kept: tensors are shared. n^3 operations and 12 n^2 bytes for a smaller side of n. Throws
  /// ValueError for a side of more than 40,000.
  EaseWeights(const data::Interactions::Scene& pairs, double l2);

  /// x_u B of a user of the pairs is added to `to`, float [I]; nothing for a user without any. `scratch` is resized.
  void add(int64_t user, float* to, std::vector<float>& scratch) const;
  /// The same for what somebody met who is not among the users, int64 [m], each once; items without rows say nothing.
  void add(const torch::Tensor& met, float* to, std::vector<float>& scratch) const;

 private:
  data::Interactions::Scene pairs_;
  torch::Tensor place_;     // int64 [U] or [I]: of each row among the inverted side, -1 for none
  torch::Tensor inverse_;   // K or P; undefined without pairs
  torch::Tensor diagonal_;  // of P, [I], 1 for items without rows
  double l2_;
  bool by_users_;
};

}  // namespace polyscene::models
