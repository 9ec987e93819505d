#pragma once

#include <torch/torch.h>

#include "polyscene/core/options.h"

namespace polyscene::nn {

/// Options for `ConvEncoder`.
struct ConvEncoderOptions {
  /// Width of every layer (H).
  TORCH_ARG(int64_t, hidden) = 64;
  /// Layers; layer l looks back kernel - 1 times 2^(l - 1) steps, so all see 1 + (kernel - 1)(2^layers - 1).
  TORCH_ARG(int64_t, layers) = 2;
  /// Steps that a filter spans.
  TORCH_ARG(int64_t, kernel) = 3;
  /// Dropout after each layer.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("hidden", self.hidden(), "width of every layer");
    visit("layers", self.layers(), "layers; the reach back in time doubles with each");
    visit("kernel", self.kernel(), "steps that a filter spans");
    visit("dropout", self.dropout(), "dropout after each layer");
  }
};

/// Causal convolutions over time, dilation 2^(l-1) in layer l (temporal convolutional network: Bai et al.,
/// arXiv:1803.01271, 2018):
///
///   h^1_t = relu(b^1 + sum_j W^1_j x_{t-j}),   h^l_t = h^{l-1}_t + relu(b^l + sum_j W^l_j h^{l-1}_{t - j 2^(l-1)})
///
/// with zeros before the first step. Step t depends on steps up to t only, so that padding on the right reaches no
/// valid step.
class ConvEncoderImpl : public torch::nn::Cloneable<ConvEncoderImpl> {
 public:
  explicit ConvEncoderImpl(int64_t input_size, ConvEncoderOptions options = {});
  void reset() override;
  /// x: [B, T, input_size]. Returns [B, T, H].
  torch::Tensor forward(const torch::Tensor& x);

  int64_t input_size;
  ConvEncoderOptions options;
  torch::nn::ModuleList convolutions = nullptr;  ///< one Conv1d a layer
};
TORCH_MODULE(ConvEncoder);

}  // namespace polyscene::nn
