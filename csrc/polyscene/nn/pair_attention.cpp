#include "polyscene/nn/pair_attention.h"

#include <cmath>
#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/masks.h"

namespace polyscene::nn {

PairAttentionImpl::PairAttentionImpl(int64_t state_size_, PairAttentionOptions options_)
    : state_size(state_size_), options(std::move(options_)) {
  check_positive("PairAttention", "state_size", state_size);
  TORCH_CHECK_VALUE(options.hidden() >= 0, "PairAttention: hidden must not be negative, got ", options.hidden());
  reset();
}

void PairAttentionImpl::reset() {
  const auto width = options.hidden() > 0 ? options.hidden() : state_size;
  projection =
      register_module("projection", torch::nn::Linear(torch::nn::LinearOptions(2 * state_size, width).bias(false)));
  head = register_parameter("head", torch::empty({width}));
  const auto bound = 1 / std::sqrt(static_cast<double>(width));
  torch::nn::init::uniform_(head, -bound, bound);
}

torch::Tensor PairAttentionImpl::forward(const torch::Tensor& states, const std::optional<torch::Tensor>& valid) {
  return attend(states, valid).output;
}

Attended PairAttentionImpl::attend(const torch::Tensor& states, const std::optional<torch::Tensor>& valid) {
  check_sequence("PairAttention", "states", states, state_size);
  const auto batch = states.size(0);
  const auto steps = states.size(1);
  if (valid) {
    check_valid("PairAttention", *valid, batch, steps);
  }
  if (steps < 2) {
    return {states.new_zeros({batch, steps, output_size()}), states.new_zeros({batch, steps, 0})};
  }
  const auto h = valid ? zero_padding(states, *valid) : states;
  const auto pairs = torch::cat({h.slice(1, 0, steps - 1), h.slice(1, 1)}, -1);  // [B, T - 1, 2 H]
  const auto scores = dense(pairs, *projection).matmul(head);                    // [B, T - 1]
  auto mask = causal_mask(steps, states.device()).slice(1, 1).unsqueeze(0);      // [1, T, T - 1]: s + 1 <= t
  if (valid) {
    mask = mask & valid->slice(1, 1).unsqueeze(1) & valid->unsqueeze(2);  // [B, T, T - 1]
  }
  const auto weights = masked_softmax(scores.unsqueeze(1).expand({-1, steps, -1}), mask);  // [B, T, T - 1]
  return {weights.matmul(pairs), weights};                                                 // [B, T, 2 H]
}

}  // namespace polyscene::nn
