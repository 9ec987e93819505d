#pragma once

#include <torch/torch.h>

#include "polyscene/core/options.h"

namespace polyscene::nn {

/// Options for `FieldAttention`.
struct FieldAttentionOptions {
  /// Heads; must divide the width.
  TORCH_ARG(int64_t, heads) = 4;
  /// Width of the inner layer.
  TORCH_ARG(int64_t, feedforward) = 32;
  /// Dropout of sublayers.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("heads", self.heads(), "heads; must divide the width");
    visit("feedforward", self.feedforward(), "width of the inner layer");
    visit("dropout", self.dropout(), "dropout of sublayers");
  }
};

/// One Transformer block whose sequence are the fields of a row (Vaswani et al., NeurIPS 2017; normalised before each
/// sublayer: Xiong et al., ICML 2020):
///
///   h <- h + attention(norm(h)),   h <- h + W_2 relu(W_1 norm(h) + b_1) + b_2
///
/// Every field sees every field of its row, and nothing of another row. Shapes: h [B, F, D].
class FieldAttentionImpl : public torch::nn::Cloneable<FieldAttentionImpl> {
 public:
  explicit FieldAttentionImpl(int64_t size, FieldAttentionOptions options = {});
  void reset() override;
  /// h: [B, F, D]. Returns [B, F, D].
  torch::Tensor forward(const torch::Tensor& h);

  int64_t size;
  FieldAttentionOptions options;
  torch::nn::LayerNorm attention_norm = nullptr;
  torch::nn::Linear projection = nullptr;  ///< of queries, keys and values, [3 D, D]
  torch::nn::Linear output = nullptr;
  torch::nn::LayerNorm feedforward_norm = nullptr;
  torch::nn::Linear inner = nullptr;  ///< W_1
  torch::nn::Linear outer = nullptr;  ///< W_2
};
TORCH_MODULE(FieldAttention);

}  // namespace polyscene::nn
