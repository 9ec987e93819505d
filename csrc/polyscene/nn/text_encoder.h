#pragma once

#include <torch/torch.h>

#include <string>

#include "polyscene/core/options.h"
#include "polyscene/nn/attention.h"
#include "polyscene/nn/encoder.h"

namespace polyscene::nn {

/// Options for `TextEncoder`.
struct TextEncoderOptions {
  /// mean, bilstm, cnn or transformer.
  TORCH_ARG(std::string, kind) = "cnn";
  /// Width of a word's state (H); kind mean: the input's.
  TORCH_ARG(int64_t, hidden) = 64;
  /// Layers.
  TORCH_ARG(int64_t, layers) = 1;
  /// Dropout of the states.
  TORCH_ARG(double, dropout) = 0;
  /// cnn: words that a filter spans, an odd number.
  TORCH_ARG(int64_t, kernel) = 3;
  /// transformer: heads of each attention; must divide the width.
  TORCH_ARG(int64_t, heads) = 2;
  /// transformer: longest text.
  TORCH_ARG(int64_t, max_length) = 200;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("kind", self.kind(), "mean, bilstm, cnn or transformer");
    visit("hidden", self.hidden(), "width of a word's state; kind mean: the input's");
    visit("layers", self.layers(), "layers");
    visit("dropout", self.dropout(), "dropout of the states");
    visit("kernel", self.kernel(), "cnn: words that a filter spans, an odd number");
    visit("heads", self.heads(), "transformer: heads of each attention; must divide the width");
    visit("max_length", self.max_length(), "transformer: longest text");
  }
};

/// Words of texts that lie one after another to one vector a text: a state of each word, then additive attention over
/// the words (Yang et al., NAACL 2016):
///
///   a_t = softmax_t(c . tanh(W h_t + b)),   out = sum_t a_t h_t
///
///   mean         a_t = 1 / n without parameters, h = x (Iyyer et al., ACL 2015, without its layers)
///   bilstm       h_t = [forward_t; backward_t], each direction a stack of LSTMs of width H / 2 of its own
///   cnn          h^1 = relu(W * x + b), h^l = h^{l-1} + relu(W^l * h^{l-1} + b^l), zeros around the text (filters as
///                Kim, EMNLP 2014, whose maximum over time the attention replaces)
///   transformer  h = W x_t + b + p_t; h <- h + attention(norm(h)), h <- h + W_2 gelu(W_1 norm(h)); a last norm (Xiong
///                et al., ICML 2020); every word sees every other of its text
///
/// A text knows nothing of the others of its batch; one without words is 0. Shapes: L words of all texts, B texts, D
/// input, H hidden.
class TextEncoderImpl : public torch::nn::Cloneable<TextEncoderImpl> {
 public:
  /// Throws ValueError for options out of range.
  explicit TextEncoderImpl(int64_t input_size, TextEncoderOptions options = {});
  void reset() override;
  /// x: [L, D], offsets: int64 [B + 1], text b is words [offsets[b], offsets[b + 1]). Returns [B, H].
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& offsets);
  /// The same with the weights of the words, [L], which add up to 1 in each text.
  Attended attend(const torch::Tensor& x, const torch::Tensor& offsets);
  /// Width of what `forward` returns (H).
  int64_t output_size() const { return options.kind() == "mean" ? input_size : options.hidden(); }

  int64_t input_size;
  TextEncoderOptions options;
  SequenceEncoder forwards = nullptr, backwards = nullptr;  ///< bilstm
  torch::nn::ModuleList convolutions = nullptr;             ///< cnn: one Conv1d a layer
  torch::nn::Linear input_projection = nullptr;             ///< transformer: W; this and all below are its own
  torch::Tensor positions;                                  ///< p, [max_length, H], starts as N(0, 0.02^2)
  torch::nn::ModuleList attention_norms = nullptr, feedforward_norms = nullptr;
  torch::nn::ModuleList queries = nullptr, keys_values = nullptr, outputs = nullptr;  ///< of each attention
  torch::nn::ModuleList inner = nullptr, outer = nullptr;                             ///< W_1 [4 H, H], W_2
  torch::nn::LayerNorm norm = nullptr;
  torch::nn::Linear word = nullptr;  ///< W, b of the attention over words; empty in kind mean
  torch::Tensor context;             ///< c, [H]

 private:
  torch::Tensor states(const torch::Tensor& x, const torch::Tensor& offsets);
  torch::Tensor both_ways(const torch::Tensor& x, const torch::Tensor& offsets);
  torch::Tensor convolved(const torch::Tensor& x, const torch::Tensor& offsets);
  torch::Tensor transformed(const torch::Tensor& x, const torch::Tensor& offsets);
};
TORCH_MODULE(TextEncoder);

}  // namespace polyscene::nn
