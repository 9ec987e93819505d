#pragma once

#include "polyscene/models/wrapped.h"

namespace polyscene::transfer {

/// Options for `Balanced`.
struct BalancedOptions {
  TORCH_ARG(std::string, kind) = "uncertainty";
  TORCH_ARG(std::vector<std::string>, shared) = {};
  TORCH_ARG(int64_t, seed) = 2022;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("kind", self.kind(), "uncertainty: a learned weight for each scene; pcgrad: conflicting gradients projected");
    visit("shared", self.shared(),
          "names or prefixes of the parameters that pcgrad projects; empty: all but lookup tables and those of one "
          "scene");
    visit("seed", self.seed(), "seed of the order in which pcgrad meets the scenes");
  }
};

/// A model that trains on several scenes as on several tasks; L_s is its loss on the rows of scene s, b_s their share
/// of the batch:
///
///   uncertainty:  loss = sum_s b_s (exp(-t_s) L_s + t_s / 2),  t_s = log variance, 0 at the start, in [-5, 5]; for
///                 ratings exp(-t_s) L_s / 2 + t_s / 2, times 2         (Kendall, Gal and Cipolla, CVPR 2018)
///   pcgrad:       the gradient of shared parameters is sum_s g_s', g_s that of b_s L_s, `project_conflicts` in an
///                 order that is drawn at each step                      (Yu et al., NeurIPS 2020)
///
/// Shares of rows take the place of the papers' equal tasks, so that it starts as (uncertainty), or without conflicts
/// is (pcgrad), the plain loss. Each scene's rows pass on their own: batch norm that scenes share sees one at a time.
class Balanced : public models::Wrapped {
 public:
  /// Throws ValueError for an unknown kind or prefix, or data of one scene.
  Balanced(std::shared_ptr<models::Model> inner, BalancedOptions options = {});

  torch::Tensor loss(const data::Batch& batch) override;

  BalancedOptions options;
  torch::Tensor log_variance;  ///< t, [S]; undefined for pcgrad
  torch::Tensor steps;         ///< int64 [], of the training so far; a buffer

 private:
  struct Task {
    int64_t scene;
    double share;
    torch::Tensor loss;
  };
  std::vector<Task> tasks(const data::Batch& batch);
  torch::Tensor projected(const std::vector<Task>& tasks);
};

}  // namespace polyscene::transfer
