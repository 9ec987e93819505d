#pragma once

#include <string>
#include <vector>

#include "polyscene/train/schedule.h"

namespace polyscene::train {

/// Options for `Optimizer`.
struct OptimizerOptions {
  std::string optimizer = "adam";
  double lr = 1e-3;
  std::vector<double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double momentum = 0;
  double weight_decay = 0;
  double clip_norm = 0;
  std::string lazy_steps = "row";
  Schedule schedule;

  /// Names every field once; bindings, configs and checkpoints walk this list.
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("optimizer", self.optimizer, "adam, adamw, sgd, lazy_adam or rowwise_adagrad");
    visit("lr", self.lr, "learning rate, above 0");
    visit("betas", self.betas, "decay of the two moments of the Adam family, each in [0, 1)");
    visit("eps", self.eps, "added to the denominator of the Adam family and of rowwise_adagrad");
    visit("momentum", self.momentum, "momentum of sgd, in [0, 1)");
    visit("weight_decay", self.weight_decay, "L2 (adamw: decoupled) decay; of table rows only those looked up");
    visit("clip_norm", self.clip_norm, "largest norm of all gradients together; 0 does not clip");
    visit("lazy_steps", self.lazy_steps, "bias correction of lazy_adam by each row's own steps (row) or all (global)");
    visit("schedule", self.schedule.name, "learning rate over time: constant, cosine, step or linear");
    visit("warmup_steps", self.schedule.warmup_steps, "steps over which the learning rate first rises");
    visit("decay_steps", self.schedule.decay_steps, "schedule step: steps between two decays");
    visit("decay_factor", self.schedule.decay_factor, "schedule step: what each decay multiplies by");
    visit("final_scale", self.schedule.final_scale, "schedules cosine and linear: factor at the end");
  }
  /// Throws ValueError for an unknown name or a value out of range.
  void check() const;
};

}  // namespace polyscene::train
