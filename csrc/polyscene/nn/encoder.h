#pragma once

#include <torch/torch.h>

#include <optional>
#include <string>

#include "polyscene/core/options.h"
#include "polyscene/nn/conv_encoder.h"
#include "polyscene/nn/transformer_encoder.h"

namespace polyscene::nn {

/// Options for `SequenceEncoder`.
struct SequenceEncoderOptions {
  /// gru, lstm, cnn or transformer.
  TORCH_ARG(std::string, kind) = "gru";
  /// Width of the hidden states (H).
  TORCH_ARG(int64_t, hidden) = 64;
  /// Layers.
  TORCH_ARG(int64_t, layers) = 1;
  /// Dropout between the layers.
  TORCH_ARG(double, dropout) = 0;
  /// Scenes that have an embedding, which is added to the input; 0: none.
  TORCH_ARG(int64_t, scenes) = 0;
  /// cnn: steps that a filter spans.
  TORCH_ARG(int64_t, kernel) = 3;
  /// transformer: heads of each attention; must divide the width.
  TORCH_ARG(int64_t, heads) = 2;
  /// transformer: width of the inner layers; 0: four times `hidden`.
  TORCH_ARG(int64_t, feedforward) = 0;
  /// transformer: longest sequence.
  TORCH_ARG(int64_t, max_length) = 200;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("kind", self.kind(), "gru, lstm, cnn or transformer");
    visit("hidden", self.hidden(), "width of the hidden states");
    visit("layers", self.layers(), "layers");
    visit("dropout", self.dropout(), "dropout between the layers");
    visit("scenes", self.scenes(), "scenes that have an embedding, which is added to the input; 0: none");
    visit("kernel", self.kernel(), "cnn: steps that a filter spans");
    visit("heads", self.heads(), "transformer: heads of each attention; must divide the width");
    visit("feedforward", self.feedforward(), "transformer: width of the inner layers; 0: four times hidden");
    visit("max_length", self.max_length(), "transformer: longest sequence");
  }
};

/// A behaviour sequence to one hidden state per event, h_t = f(x_1 + e_{s_1}, ..., x_t + e_{s_t}), where f is a GRU
/// (Cho et al., EMNLP 2014), an LSTM (Hochreiter & Schmidhuber, 1997), causal convolutions (`ConvEncoder`) or a causal
/// Transformer (`TransformerEncoder`) and e_s the embedding of the event's scene.
///
/// Every kind is causal and rows are padded on the right, so padding reaches no valid state; its values are not read,
/// and its states are 0. Recurrent kinds run over the padded input: on the CPU that is faster than packing it. Shapes:
/// B batch, T time, D input, H hidden.
class SequenceEncoderImpl : public torch::nn::Cloneable<SequenceEncoderImpl> {
 public:
  explicit SequenceEncoderImpl(int64_t input_size, SequenceEncoderOptions options = {});
  void reset() override;
  /// x: [B, T, D], valid: bool [B, T] with valid events first, scene: int64 [B, T], needed when the options name
  /// scenes. Returns all hidden states [B, T, H], 0 at padding.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& valid,
                        const std::optional<torch::Tensor>& scene = {});
  /// Width of what `forward` returns (H).
  int64_t output_size() const { return options.hidden(); }

  int64_t input_size;
  SequenceEncoderOptions options;
  torch::nn::Embedding scene_embedding = nullptr;  ///< [scenes, D], starts as N(0, 0.02^2); empty without scenes
  torch::nn::GRU gru = nullptr;                    ///< of these four the one that `kind` names
  torch::nn::LSTM lstm = nullptr;
  ConvEncoder cnn = nullptr;
  TransformerEncoder transformer = nullptr;

 private:
  torch::Tensor add_scene(const torch::Tensor& x, const torch::Tensor& valid,
                          const std::optional<torch::Tensor>& scene);
};
TORCH_MODULE(SequenceEncoder);

/// The last valid state of each row: states [B, T, H], valid [B, T]. Returns [B, H], 0 for a row without events.
torch::Tensor last_state(const torch::Tensor& states, const torch::Tensor& valid);

}  // namespace polyscene::nn
