#include "polyscene/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "polyscene/core/errors.h"

namespace polyscene::train {

void Schedule::check(const std::string& owner) const {
  static const std::vector<std::string> kNames = {"constant", "cosine", "step", "linear"};
  TORCH_CHECK_VALUE(std::find(kNames.begin(), kNames.end(), name) != kNames.end(), owner, ": unknown schedule '", name,
                    "'; known schedules: ", join(kNames), suggestion(name, kNames));
  TORCH_CHECK_VALUE(warmup_steps >= 0, owner, ": warmup_steps must be >= 0, got ", warmup_steps);
  TORCH_CHECK_VALUE(decay_steps > 0, owner, ": decay_steps must be positive, got ", decay_steps);
  TORCH_CHECK_VALUE(decay_factor > 0 && decay_factor <= 1, owner, ": decay_factor must be in (0, 1], got ",
                    decay_factor);
  TORCH_CHECK_VALUE(final_scale >= 0 && final_scale <= 1, owner, ": final_scale must be in [0, 1], got ", final_scale);
}

double Schedule::factor(int64_t step, int64_t total_steps) const {
  if (step < warmup_steps) return static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  const auto after = static_cast<double>(step - warmup_steps);
  if (name == "step") return std::pow(decay_factor, std::floor(after / static_cast<double>(decay_steps)));
  if (!needs_total()) return 1;
  const auto length = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  const double part = std::min(1.0, after / length);
  const double left = name == "linear" ? 1 - part : (1 + std::cos(std::numbers::pi * part)) / 2;
  return final_scale + (1 - final_scale) * left;
}

}  // namespace polyscene::train
