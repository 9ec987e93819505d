#pragma once

#include <torch/torch.h>

#include "polyscene/core/options.h"
#include "polyscene/nn/attention.h"

namespace polyscene::nn {

/// Options for `Gating`.
struct GatingOptions {
  /// Whether the gate has a bias.
  TORCH_ARG(bool, bias) = false;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("bias", self.bias(), "whether the gate has a bias");
  }
};

/// Attention over features: softmax(W_a h) * x, elementwise; the softmax runs over the D features of x, so their gates
/// add up to 1 (gates from a context: Hu, Shen, Sun, "Squeeze-and-excitation networks", CVPR 2018). Positions do not
/// mix, so there is nothing to mask. Shapes: D input, H context.
class GatingImpl : public torch::nn::Cloneable<GatingImpl> {
 public:
  GatingImpl(int64_t input_size, int64_t context_size, GatingOptions options = {});
  void reset() override;
  /// Gated features [..., D]; arguments as for `attend`.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& context);
  /// x: [..., D], context: [..., H]. Returns the gated features [..., D] and the gates [..., D].
  Attended attend(const torch::Tensor& x, const torch::Tensor& context);

  int64_t input_size;
  int64_t context_size;
  GatingOptions options;
  torch::nn::Linear gate = nullptr;  ///< W_a, [D, H]
};
TORCH_MODULE(Gating);

}  // namespace polyscene::nn
