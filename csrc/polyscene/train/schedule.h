#pragma once

#include <cstdint>
#include <string>

namespace polyscene::train {

/// Learning rate over time, as a factor of the base rate. After `warmup_steps` of linear rise, with p = (step - warmup)
/// / (total - warmup) and e = `final_scale`:
///
///   constant  1                  linear  1 - (1 - e) p
///   cosine    e + (1 - e) (1 + cos(pi p)) / 2
///   step      decay_factor ^ floor((step - warmup) / decay_steps)
struct Schedule {
  std::string name = "constant";  ///< "constant", "cosine", "step" or "linear"
  int64_t warmup_steps = 0;       ///< step i < warmup_steps runs at (i + 1) / warmup_steps
  int64_t decay_steps = 1000;     ///< "step": steps between two decays
  double decay_factor = 0.1;      ///< "step": what each decay multiplies by
  double final_scale = 0;         ///< "cosine", "linear": factor at the last step and after it

  /// Throws ValueError for an unknown name or a value out of range; `owner` opens the message.
  void check(const std::string& owner) const;
  /// Whether `factor` needs the total number of steps.
  bool needs_total() const { return name == "cosine" || name == "linear"; }
  /// Factor at `step` (from 0) of `total_steps`.
  double factor(int64_t step, int64_t total_steps) const;
};

}  // namespace polyscene::train
