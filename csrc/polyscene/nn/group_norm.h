#pragma once

#include <torch/torch.h>

#include <numeric>

namespace polyscene::nn {

/// Most groups of a norm of maps.
inline constexpr int64_t kNormGroups = 8;

/// Groups of equally many of C channels: gcd(8, C), or one where these would be single channels. A channel by itself
/// would be as strong in every image, and a constant on a map of one position.
inline int64_t norm_groups(int64_t channels) {
  const auto groups = std::gcd(kNormGroups, channels);
  return groups < channels ? groups : 1;
}

/// The group norm (Wu and He, ECCV 2018) of all encoders and networks of images.
inline torch::nn::GroupNorm group_norm(int64_t channels) {
  return torch::nn::GroupNorm(torch::nn::GroupNormOptions(norm_groups(channels), channels));
}

}  // namespace polyscene::nn
