#pragma once

#include <torch/torch.h>

#include <optional>

#include "polyscene/core/options.h"
#include "polyscene/nn/attention.h"

namespace polyscene::nn {

/// Options for `TemporalAttention`.
struct TemporalAttentionOptions {
  /// One context per step, from the steps up to it; else one context per row, from all its steps.
  TORCH_ARG(bool, causal) = true;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("causal", self.causal(),
          "one context per step, from the steps up to it; else one per row, from all its steps");
  }
};

/// Attention over time that scores an event by itself and the state before it (cf. Qin et al., IJCAI 2017):
///
///   e_s = w . [h_{s-1}; x_s] / sqrt(H + D), h_0 = 0,   a_ts = softmax_{s <= t}(e_s),   c_t = sum_{s <= t} a_ts x_s
///
/// A bias of e_s would cancel in the softmax, so there is none. Without `causal`, the softmax and the sum run over all
/// events. Padding is never read, not even NaN; rows and steps without events have context and weights 0. Shapes: B
/// batch, T time, D input, H state.
class TemporalAttentionImpl : public torch::nn::Cloneable<TemporalAttentionImpl> {
 public:
  TemporalAttentionImpl(int64_t input_size, int64_t state_size, TemporalAttentionOptions options = {});
  void reset() override;
  /// Contexts [B, T, D] (causal) or [B, D]; arguments as for `attend`.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& states,
                        const std::optional<torch::Tensor>& valid = {});
  /// x: [B, T, D], states: [B, T, H] with h_t the state after x_t, valid: bool [B, T], valid events first.
  /// Returns contexts and weights: [B, T, D] and [B, T, T] (causal), or [B, D] and [B, T].
  Attended attend(const torch::Tensor& x, const torch::Tensor& states, const std::optional<torch::Tensor>& valid = {});

  int64_t input_size;
  int64_t state_size;
  TemporalAttentionOptions options;
  torch::Tensor weight;  ///< w, [H + D]
};
TORCH_MODULE(TemporalAttention);

}  // namespace polyscene::nn
