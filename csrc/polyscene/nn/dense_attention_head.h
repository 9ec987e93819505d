#pragma once

#include <torch/torch.h>

#include "polyscene/core/options.h"
#include "polyscene/nn/attention.h"
#include "polyscene/nn/gating.h"

namespace polyscene::nn {

/// Options for `DenseAttentionHead`.
struct DenseAttentionHeadOptions {
  /// Width of the dense layer (H).
  TORCH_ARG(int64_t, hidden) = 64;
  /// Logits per row (C).
  TORCH_ARG(int64_t, outputs) = 1;
  /// Whether the attended layer stands beside the dense one; without it the head sees the dense layer alone.
  TORCH_ARG(bool, attention) = true;
  /// Dropout of the dense layer.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("hidden", self.hidden(), "width of the dense layer");
    visit("outputs", self.outputs(), "logits per row");
    visit("attention", self.attention(), "whether the attended layer stands beside the dense one");
    visit("dropout", self.dropout(), "dropout of the dense layer");
  }
};

/// Dense layer, attention over its features, both side by side into the logits:
///
///   d = relu(W x + b),   logits = W_o [d; softmax(W_a d) * d] + b_o
///
/// The sigmoid belongs to the loss. Shapes: D input, H dense, C logits.
class DenseAttentionHeadImpl : public torch::nn::Cloneable<DenseAttentionHeadImpl> {
 public:
  explicit DenseAttentionHeadImpl(int64_t input_size, DenseAttentionHeadOptions options = {});
  void reset() override;
  /// x: [..., D]. Returns logits [..., C].
  torch::Tensor forward(const torch::Tensor& x);
  /// x: [..., D]. Returns logits [..., C] and attention weights [..., H], uniform ones without attention.
  Attended attend(const torch::Tensor& x);

  int64_t input_size;
  DenseAttentionHeadOptions options;
  torch::nn::Linear dense = nullptr;
  Gating attention = nullptr;  ///< empty without attention
  torch::nn::Linear output = nullptr;
};
TORCH_MODULE(DenseAttentionHead);

}  // namespace polyscene::nn
