#include "polyscene/train/optimizer_options.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"

namespace polyscene::train {

void OptimizerOptions::check() const {
  static const std::vector<std::string> kOptimizers = {"adam", "adamw", "sgd", "lazy_adam", "rowwise_adagrad"};
  TORCH_CHECK_VALUE(std::find(kOptimizers.begin(), kOptimizers.end(), optimizer) != kOptimizers.end(),
                    "Optimizer: unknown optimizer '", optimizer, "'; known optimizers: ", join(kOptimizers),
                    suggestion(optimizer, kOptimizers));
  TORCH_CHECK_VALUE(lr > 0 && std::isfinite(lr), "Optimizer: lr must be positive and finite, got ", lr);
  TORCH_CHECK_VALUE(betas.size() == 2, "Optimizer: betas must be two numbers, got ", betas.size());
  for (const double beta : betas) {
    TORCH_CHECK_VALUE(beta >= 0 && beta < 1, "Optimizer: betas must lie in [0, 1), got ", beta);
  }
  TORCH_CHECK_VALUE(eps >= 0 && std::isfinite(eps), "Optimizer: eps must be >= 0, got ", eps);
  TORCH_CHECK_VALUE(momentum >= 0 && momentum < 1, "Optimizer: momentum must lie in [0, 1), got ", momentum);
  TORCH_CHECK_VALUE(momentum == 0 || optimizer == "sgd", "Optimizer: momentum belongs to sgd, got ", momentum, " with ",
                    optimizer);
  TORCH_CHECK_VALUE(weight_decay >= 0 && std::isfinite(weight_decay), "Optimizer: weight_decay must be >= 0, got ",
                    weight_decay);
  TORCH_CHECK_VALUE(clip_norm >= 0, "Optimizer: clip_norm must be >= 0 (0 does not clip), got ", clip_norm);
  TORCH_CHECK_VALUE(lazy_steps == "row" || lazy_steps == "global", "Optimizer: lazy_steps must be row or global, got '",
                    lazy_steps, "'");
  schedule.check("Optimizer");
}

}  // namespace polyscene::train
