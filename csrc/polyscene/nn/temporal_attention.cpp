#include "polyscene/nn/temporal_attention.h"

#include <cmath>
#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/masks.h"

namespace polyscene::nn {

TemporalAttentionImpl::TemporalAttentionImpl(int64_t input_size_, int64_t state_size_,
                                             TemporalAttentionOptions options_)
    : input_size(input_size_), state_size(state_size_), options(std::move(options_)) {
  check_positive("TemporalAttention", "input_size", input_size);
  check_positive("TemporalAttention", "state_size", state_size);
  reset();
}

void TemporalAttentionImpl::reset() {
  const auto width = state_size + input_size;
  weight = register_parameter("weight", torch::empty({width}));
  const auto bound = 1 / std::sqrt(static_cast<double>(width));
  torch::nn::init::uniform_(weight, -bound, bound);
}

torch::Tensor TemporalAttentionImpl::forward(const torch::Tensor& x, const torch::Tensor& states,
                                             const std::optional<torch::Tensor>& valid) {
  return attend(x, states, valid).output;
}

Attended TemporalAttentionImpl::attend(const torch::Tensor& x, const torch::Tensor& states,
                                       const std::optional<torch::Tensor>& valid) {
  check_sequence("TemporalAttention", "x", x, input_size);
  check_sequence("TemporalAttention", "states", states, state_size);
  TORCH_CHECK_VALUE(states.size(0) == x.size(0) && states.size(1) == x.size(1),
                    "TemporalAttention: states must have the batch and steps of x, ", x.sizes(), ", got ",
                    states.sizes());
  const auto steps = x.size(1);
  torch::Tensor real = valid ? *valid : torch::ones({x.size(0), steps}, x.options().dtype(torch::kBool));  // [B, T]
  auto events = x;
  auto hidden = states;
  if (valid) {
    check_valid("TemporalAttention", real, x.size(0), steps);
    events = zero_padding(x, real);
    hidden = zero_padding(states, real);
  }
  // The score of the state before is computed once per state, then moved one step on: h_0 = 0 scores 0.
  const auto scored = hidden.matmul(weight.slice(0, 0, state_size));                             // [B, T]
  const auto before = torch::constant_pad_nd(scored, {1, 0}).slice(1, 0, steps);                 // [B, T]
  const auto own = events.matmul(weight.slice(0, state_size));                                   // [B, T]
  const auto scores = (before + own) / std::sqrt(static_cast<double>(state_size + input_size));  // [B, T]
  if (!options.causal()) {
    const auto weights = masked_softmax(scores, real);                 // [B, T]
    return {weights.unsqueeze(1).matmul(events).squeeze(1), weights};  // [B, D]
  }
  const auto mask = attention_mask(real, /*causal=*/true) & real.unsqueeze(2);             // [B, T, T]
  const auto weights = masked_softmax(scores.unsqueeze(1).expand({-1, steps, -1}), mask);  // [B, T, T]
  return {weights.matmul(events), weights};                                                // [B, T, D]
}

}  // namespace polyscene::nn
