#pragma once

#include <torch/torch.h>

#include <optional>

namespace polyscene::nn {

// In every mask true means "take part": a valid event, or a key that a query may attend to.
// Sequences are padded on the right: the events of a row, oldest first, come before its padding.
// Shapes: B batch, T time (longest sequence), L events of all rows.

/// True where t < lengths[b]. lengths: integer [B], 0 to `steps`. Returns bool [B, T].
torch::Tensor padding_mask(const torch::Tensor& lengths, int64_t steps);

/// True where s <= t: step t sees itself and what came before. Returns bool [T, T].
torch::Tensor causal_mask(int64_t steps, torch::Device device = torch::kCPU);

/// What each step may attend to: valid keys and, when `causal`, none after itself. valid: bool [B, T].
/// Returns bool [B, T, T] (causal) or [B, 1, T].
torch::Tensor attention_mask(const torch::Tensor& valid, bool causal);

/// Softmax over `dim` of the scores whose mask is true; the others are 0, and a row with nothing to attend to is all 0.
/// Gradients are finite everywhere. mask: bool, broadcasts with scores.
torch::Tensor masked_softmax(const torch::Tensor& scores, const torch::Tensor& mask, int64_t dim = -1);

/// Sequences of different lengths side by side.
struct Padded {
  torch::Tensor values;  ///< [B, T, ...], 0 at padding
  torch::Tensor valid;   ///< bool [B, T]
};

/// Events of all rows one after another.
struct Unpadded {
  torch::Tensor values;   ///< [L, ...]
  torch::Tensor offsets;  ///< int64 [B + 1], events of row b lie in [offsets[b], offsets[b + 1])
};

/// Lays ragged rows side by side; of a row longer than `max_steps` (0: no limit) the newest events are kept.
/// T is the length of the longest row, `max_steps` at most. values: [L, ...], offsets: int64 [B + 1].
Padded pad_ragged(const torch::Tensor& values, const torch::Tensor& offsets, int64_t max_steps = 0);

/// The inverse of `pad_ragged` (for rows that were not cut). padded: [B, T, ...], valid: bool [B, T].
Unpadded unpad_ragged(const torch::Tensor& padded, const torch::Tensor& valid);

/// Throws ValueError unless `valid` is bool [B, T] with the valid events of each row first ("owner: ...").
/// The order is checked on the CPU only: elsewhere it would stall the device.
void check_valid(const char* owner, const torch::Tensor& valid, int64_t batch, int64_t steps);

/// `x` [B, T, ...] with 0 where `valid` [B, T] is false; NaN and infinities at padding do not get through.
torch::Tensor zero_padding(const torch::Tensor& x, const torch::Tensor& valid);

}  // namespace polyscene::nn
