#pragma once

#include <torch/torch.h>

#include <optional>

#include "polyscene/core/options.h"
#include "polyscene/nn/attention.h"

namespace polyscene::nn {

/// Options for `PairAttention`.
struct PairAttentionOptions {
  /// Width of the projected pairs (A); 0: the width of a state.
  TORCH_ARG(int64_t, hidden) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("hidden", self.hidden(), "width of the projected pairs; 0: the width of a state");
  }
};

/// Attention over pairs of adjacent states, which sees transitions rather than single events:
///
///   alpha_ts = softmax_{s < t}(a . W_v [h_s; h_{s+1}]),   c_t = sum_{s < t} alpha_ts [h_s; h_{s+1}]
///
/// over the pairs that end at or before t; a is a learned head vector. The first step has no pair: its context and
/// weights are 0, as at padding, which is never read, not even NaN. Shapes: B batch, T time, H state, A projected.
class PairAttentionImpl : public torch::nn::Cloneable<PairAttentionImpl> {
 public:
  explicit PairAttentionImpl(int64_t state_size, PairAttentionOptions options = {});
  void reset() override;
  /// Contexts [B, T, 2 H]; arguments as for `attend`.
  torch::Tensor forward(const torch::Tensor& states, const std::optional<torch::Tensor>& valid = {});
  /// states: [B, T, H], valid: bool [B, T], valid events first.
  /// Returns contexts [B, T, 2 H] and weights [B, T, T - 1]; weight s is that of the pair of steps s and s + 1.
  Attended attend(const torch::Tensor& states, const std::optional<torch::Tensor>& valid = {});
  /// Width of a context (2 H).
  int64_t output_size() const { return 2 * state_size; }

  int64_t state_size;
  PairAttentionOptions options;
  torch::nn::Linear projection = nullptr;  ///< W_v, [A, 2 H]
  torch::Tensor head;                      ///< a, [A]
};
TORCH_MODULE(PairAttention);

}  // namespace polyscene::nn
