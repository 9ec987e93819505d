#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Throws ValueError unless `value` is positive: "owner: heads must be positive, got 0".
inline void check_positive(const char* owner, const char* name, int64_t value) {
  TORCH_CHECK_VALUE(value > 0, owner, ": ", name, " must be positive, got ", value);
}

/// Throws ValueError unless `value` is a dropout probability, 0 <= value < 1.
inline void check_dropout(const char* owner, double value) {
  TORCH_CHECK_VALUE(value >= 0 && value < 1, owner, ": dropout must be in [0, 1), got ", value);
}

/// Throws ValueError unless `x` is [B, T, size]: "owner: query must be [B, T, 8], got [2, 3]".
inline void check_sequence(const char* owner, const char* name, const torch::Tensor& x, int64_t size) {
  TORCH_CHECK_VALUE(x.dim() == 3 && x.size(2) == size, owner, ": ", name, " must be [B, T, ", size, "], got ",
                    x.sizes());
}

/// Throws ValueError unless the last dimension of `x` is `size`: "owner: x must be [..., 8], got [2, 3]".
inline void check_width(const char* owner, const char* name, const torch::Tensor& x, int64_t size) {
  TORCH_CHECK_VALUE(x.dim() >= 1 && x.size(-1) == size, owner, ": ", name, " must be [..., ", size, "], got ",
                    x.sizes());
}

}  // namespace polyscene::nn
