#pragma once

#include <torch/torch.h>

#include <optional>
#include <string>

#include "polyscene/core/options.h"
#include "polyscene/nn/attention.h"

namespace polyscene::nn {

/// Options for `MultiHeadAttention`.
struct MultiHeadAttentionOptions {
  /// Heads; must divide the hidden width.
  TORCH_ARG(int64_t, heads) = 2;
  /// Width of all projected queries together; 0: the width of the queries.
  TORCH_ARG(int64_t, hidden) = 0;
  /// Width of keys and values; 0: the width of the queries.
  TORCH_ARG(int64_t, key_size) = 0;
  /// Scores divided by sqrt(hidden / heads) ("head") or sqrt(hidden) ("hidden").
  TORCH_ARG(std::string, scale) = "head";
  /// Whether step t attends to steps up to t only; needs as many queries as keys.
  TORCH_ARG(bool, causal) = false;
  /// Dropout of the attention weights.
  TORCH_ARG(double, dropout) = 0;
  /// Whether the projections have biases.
  TORCH_ARG(bool, bias) = true;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("heads", self.heads(), "heads; must divide the hidden width");
    visit("hidden", self.hidden(), "width of all projected queries together; 0: the width of the queries");
    visit("key_size", self.key_size(), "width of keys and values; 0: the width of the queries");
    visit("scale", self.scale(), "scores divided by sqrt(hidden / heads): head; by sqrt(hidden): hidden");
    visit("causal", self.causal(), "whether step t attends to steps up to t only");
    visit("dropout", self.dropout(), "dropout of the attention weights");
    visit("bias", self.bias(), "whether the projections have biases");
  }
};

/// Multi-head attention (Vaswani et al., NeurIPS 2017):
///
///   head_i = softmax(Q_i K_i^T / sqrt(H / heads)) V_i,   output = [head_1; ...; head_n] W_o + b_o
///
/// with Q = q W_q + b_q and so on. Padded keys are never read, not even NaN. A query with nothing to attend to has
/// weights 0 and output b_o. Shapes: B batch, Tq queries, Tk keys, H hidden.
class MultiHeadAttentionImpl : public torch::nn::Cloneable<MultiHeadAttentionImpl> {
 public:
  explicit MultiHeadAttentionImpl(int64_t size, MultiHeadAttentionOptions options = {});
  void reset() override;
  /// Output [B, Tq, size]; arguments as for `attend`, which it equals, faster since the weights are not kept.
  torch::Tensor forward(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                        const std::optional<torch::Tensor>& valid = {}, const std::optional<torch::Tensor>& mask = {});
  /// query: [B, Tq, size], key and value: [B, Tk, key_size]; valid: bool [B, Tk], true for keys that count; mask: [Tq,
  /// Tk] or [B, Tq, Tk], bool (true: may attend) or floating (added to the scores, -inf: may not). Returns output [B,
  /// Tq, size] and the weights before dropout [B, heads, Tq, Tk].
  Attended attend(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                  const std::optional<torch::Tensor>& valid = {}, const std::optional<torch::Tensor>& mask = {});

  int64_t size;
  MultiHeadAttentionOptions options;
  torch::nn::Linear query_projection = nullptr;
  torch::nn::Linear key_projection = nullptr;
  torch::nn::Linear value_projection = nullptr;
  torch::nn::Linear output_projection = nullptr;

 private:
  struct Heads {
    torch::Tensor query, key, value;  // [B, heads, T, H / heads]
    torch::Tensor allowed;            // bool, broadcasts to [B, heads, Tq, Tk]; undefined: everything
    torch::Tensor added;              // the same shape; undefined: nothing
    double scale;
  };
  Heads project(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                const std::optional<torch::Tensor>& valid, const std::optional<torch::Tensor>& mask);
  torch::Tensor merge(const torch::Tensor& heads);
};
TORCH_MODULE(MultiHeadAttention);

}  // namespace polyscene::nn
