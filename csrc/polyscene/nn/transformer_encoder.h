#pragma once

#include <torch/torch.h>

#include <optional>

#include "polyscene/core/options.h"
#include "polyscene/nn/multi_head_attention.h"

namespace polyscene::nn {

/// Options for `TransformerEncoder` and `TransformerBlock`.
struct TransformerEncoderOptions {
  /// Width of the states (H).
  TORCH_ARG(int64_t, hidden) = 64;
  /// Blocks.
  TORCH_ARG(int64_t, layers) = 2;
  /// Heads of each attention; must divide the width.
  TORCH_ARG(int64_t, heads) = 2;
  /// Width of the inner layer of each block; 0: four times `hidden`.
  TORCH_ARG(int64_t, feedforward) = 0;
  /// Longest sequence: the number of positions that have an embedding.
  TORCH_ARG(int64_t, max_length) = 200;
  /// Dropout of weights, sublayers and the embedded input.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("hidden", self.hidden(), "width of the states");
    visit("layers", self.layers(), "blocks");
    visit("heads", self.heads(), "heads of each attention; must divide the width");
    visit("feedforward", self.feedforward(), "width of the inner layer of each block; 0: four times hidden");
    visit("max_length", self.max_length(), "longest sequence: positions that have an embedding");
    visit("dropout", self.dropout(), "dropout of weights, sublayers and the embedded input");
  }
};

/// One block, normalised before each sublayer (Xiong et al., ICML 2020):
///
///   h <- h + attention(norm(h)),   h <- h + W_2 gelu(W_1 norm(h) + b_1) + b_2
///
/// with causal self-attention.
class TransformerBlockImpl : public torch::nn::Cloneable<TransformerBlockImpl> {
 public:
  explicit TransformerBlockImpl(TransformerEncoderOptions options = {});
  void reset() override;
  /// h: [B, T, H], valid: bool [B, T]. Returns [B, T, H].
  torch::Tensor forward(const torch::Tensor& h, const torch::Tensor& valid);

  TransformerEncoderOptions options;
  torch::nn::LayerNorm attention_norm = nullptr;
  MultiHeadAttention attention = nullptr;
  torch::nn::LayerNorm feedforward_norm = nullptr;
  torch::nn::Linear inner = nullptr;  ///< W_1
  torch::nn::Linear outer = nullptr;  ///< W_2
};
TORCH_MODULE(TransformerBlock);

/// Causal Transformer with learned positions (Vaswani et al., NeurIPS 2017; for behaviour: Kang & McAuley, ICDM 2018):
/// h_t = W x_t + b + p_t, the blocks, a last layer norm. Position 0 is the first event of each row.
class TransformerEncoderImpl : public torch::nn::Cloneable<TransformerEncoderImpl> {
 public:
  explicit TransformerEncoderImpl(int64_t input_size, TransformerEncoderOptions options = {});
  void reset() override;
  /// x: [B, T, input_size], T no longer than `max_length`, valid: bool [B, T]. Returns [B, T, H].
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& valid);

  int64_t input_size;
  TransformerEncoderOptions options;
  torch::nn::Linear input_projection = nullptr;
  torch::Tensor positions;  ///< [max_length, H], starts as N(0, 0.02^2)
  torch::nn::ModuleList blocks = nullptr;
  torch::nn::LayerNorm norm = nullptr;
};
TORCH_MODULE(TransformerEncoder);

}  // namespace polyscene::nn
