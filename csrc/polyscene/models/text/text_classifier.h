#pragma once

#include "polyscene/models/class_head.h"
#include "polyscene/nn/lookup.h"
#include "polyscene/nn/text_encoder.h"

namespace polyscene::models {

/// Options for `TextClassifier`.
struct TextClassifierOptions {
  TORCH_ARG(std::string, encoder) = "cnn";
  TORCH_ARG(int64_t, dim) = 64;
  TORCH_ARG(int64_t, width) = 64;
  TORCH_ARG(int64_t, layers) = 1;
  TORCH_ARG(int64_t, kernel) = 3;
  TORCH_ARG(int64_t, heads) = 2;
  TORCH_ARG(std::vector<int64_t>, hidden) = {64};
  TORCH_ARG(std::string, scene) = "none";
  TORCH_ARG(double, dropout) = 0.3;
  TORCH_ARG(double, label_smoothing) = 0;
  TORCH_ARG(double, init_std) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("encoder", self.encoder(), "mean, bilstm, cnn or transformer");
    visit("dim", self.dim(), "width of the word vectors (D)");
    visit("width", self.width(), "width of the encoder's states; encoder mean: that of the word vectors");
    visit("layers", self.layers(), "layers of the encoder");
    visit("kernel", self.kernel(), "cnn: words that a filter spans, an odd number");
    visit("heads", self.heads(), "transformer: heads of each attention");
    visit("hidden", self.hidden(), "widths of the hidden layers behind the encoder");
    visit("scene", self.scene(),
          "what is special to a scene: none; embedding: a vector added to the text's; heads: the output layer");
    visit("dropout", self.dropout(), "dropout of word vectors, states and hidden layers");
    visit("label_smoothing", self.label_smoothing(), "share of the target that is spread over all classes, in [0, 1)");
    visit("init_std", self.init_std(), "standard deviation of the initial word vectors");
  }
};

/// Classes of texts: word vectors, a `nn::TextEncoder`, hidden layers, one logit for each class.
///
///   r = encoder(E[w_1], ..., E[w_n]) (+ e_s with scene "embedding"),   h = hidden(r),   logits = W h + b
///
/// with W and b of the row's scene where scene is "heads". The loss is cross-entropy against the label with a share
/// epsilon spread over all C classes (Szegedy et al., CVPR 2016): (1 - epsilon) at the label and epsilon / C each.
/// Vectors of the unknown word start at 0. Other columns than the text are not read.
///
/// Shapes: B batch, L words, D word vector, H last hidden layer, C classes, S scenes.
class TextClassifierImpl : public Model {
 public:
  /// Throws ValueError for data of another task or without a text column, and for options out of range.
  explicit TextClassifierImpl(std::shared_ptr<const data::Schema> schema, TextClassifierOptions options = {});
  /// Logits of the classes, [B, C].
  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor loss(const data::Batch& batch) override;
  /// attention [B, T]: the weight of each word, 0 beyond the text; words int64 [B]: how many it has.
  Explanation explain(const data::Batch& batch) override;
  std::string name() const override { return "text_classifier"; }
  OptionMap options_map() const override { return to_map(options); }

  TextClassifierOptions options;
  torch::nn::Embedding words = nullptr;  ///< E, [rows of the vocabulary, D]
  nn::TextEncoder encoder = nullptr;
  ClassHead head;  ///< e, the hidden layers, W, b

 private:
  nn::Attended read(const data::Batch& batch);
  const data::Ragged& text_of(const data::Batch& batch) const;

  std::string column_;
  nn::FieldRows rows_;
};
TORCH_MODULE(TextClassifier);

}  // namespace polyscene::models
