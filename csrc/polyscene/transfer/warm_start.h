#pragma once

#include <string>
#include <vector>

#include "polyscene/data/table.h"
#include "polyscene/models/base.h"

namespace polyscene::transfer {

/// Options for `warm_start`.
struct WarmStartOptions {
  TORCH_ARG(std::string, kind) = "reptile";
  TORCH_ARG(int64_t, rounds) = 100;
  TORCH_ARG(int64_t, inner_steps) = 3;
  TORCH_ARG(double, inner_lr) = 1e-2;
  TORCH_ARG(double, outer_lr) = 0.1;
  TORCH_ARG(int64_t, rows) = 256;
  TORCH_ARG(std::vector<std::string>, outer_only) = {};
  TORCH_ARG(int64_t, seed) = 2022;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("kind", self.kind(), "reptile, or fomaml: first-order MAML");
    visit("rounds", self.rounds(), "steps of the start");
    visit("inner_steps", self.inner_steps(), "steps of each task from it");
    visit("inner_lr", self.inner_lr(), "learning rate of these, plain gradient descent (a)");
    visit("outer_lr", self.outer_lr(), "step of the start: share of the way (reptile), learning rate of Adam (fomaml)");
    visit("rows", self.rows(), "rows of a step");
    visit("outer_only", self.outer_only(),
          "names or prefixes of parameters that tasks do not move, such as embeddings (MeLU); fomaml alone");
    visit("seed", self.seed(), "seed of the rows");
  }
};

/// Moves a model to where a few steps on any of several tasks, such as scenes, lead far. Each task's older half of the
/// rows (by time, else at random) is its support, the other half its query; phi_i is theta after `inner_steps` steps of
/// gradient descent on rows of the support.
///
///   reptile:  theta <- theta + e mean_i (phi_i - theta), phi_i from rows of both halves   (Nichol et al., 2018)
///   fomaml:   theta <- Adam(theta, mean_i dL_query(phi_i) / dphi_i)                       (Finn et al., ICML 2017)
///
/// Buffers end as they began. Returns the mean loss of each round: on queries (fomaml), or of the last inner step.
/// Throws ValueError for options out of range, no tasks, or a task with fewer than two rows.
std::vector<double> warm_start(models::Model& model, const std::vector<data::Table>& tasks,
                               const WarmStartOptions& options = {});

}  // namespace polyscene::transfer
