#pragma once

#include <utility>

#include "polyscene/data/images.h"
#include "polyscene/models/class_head.h"
#include "polyscene/nn/feature_embedding.h"
#include "polyscene/nn/fusion.h"
#include "polyscene/nn/image_encoder.h"
#include "polyscene/nn/text_encoder.h"

namespace polyscene::models {

/// Options for `MultiModal`.
struct MultiModalOptions {
  TORCH_ARG(std::string, fusion) = "gated";
  TORCH_ARG(int64_t, fused) = 64;
  TORCH_ARG(int64_t, fusion_heads) = 2;
  TORCH_ARG(std::string, text) = "cnn";
  TORCH_ARG(int64_t, dim) = 32;
  TORCH_ARG(int64_t, width) = 64;
  TORCH_ARG(int64_t, layers) = 1;
  TORCH_ARG(int64_t, kernel) = 3;
  TORCH_ARG(int64_t, heads) = 2;
  TORCH_ARG(std::string, image) = "cnn";
  TORCH_ARG(std::vector<int64_t>, image_widths) = {16, 32, 64};
  TORCH_ARG(std::vector<int64_t>, hidden) = {64};
  TORCH_ARG(std::string, scene) = "none";
  TORCH_ARG(double, dropout) = 0.2;
  TORCH_ARG(double, label_smoothing) = 0;
  TORCH_ARG(double, init_std) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("fusion", self.fusion(), "concat, gated or cross_attention");
    visit("fused", self.fused(), "width of the fused vector");
    visit("fusion_heads", self.fusion_heads(), "cross_attention: heads; must divide the fused width");
    visit("text", self.text(), "encoder of texts: mean, bilstm, cnn or transformer");
    visit("dim", self.dim(), "width of the vectors of words and of ids (D)");
    visit("width", self.width(), "width of the text encoder's states; mean: that of the word vectors");
    visit("layers", self.layers(), "layers of the text encoder");
    visit("kernel", self.kernel(), "text cnn: words that a filter spans, an odd number");
    visit("heads", self.heads(), "text transformer: heads of each attention");
    visit("image", self.image(), "encoder of images: cnn or resnet");
    visit("image_widths", self.image_widths(), "channels of the image encoder's maps, stage by stage");
    visit("hidden", self.hidden(), "widths of the hidden layers behind the fusion");
    visit("scene", self.scene(),
          "what is special to a scene: none; embedding: a vector added to the fused one; heads: the output layer");
    visit("dropout", self.dropout(), "dropout of word vectors, of the encoders, of the fused vector and hidden layers");
    visit("label_smoothing", self.label_smoothing(), "share of the target that is spread over all classes, in [0, 1)");
    visit("init_std", self.init_std(), "standard deviation of the initial vectors of words and ids");
  }
};

/// Classes from all that a row has: ids, texts and images, one vector each, fused by `nn::Fusion`.
///
///   x_ids = [e_1; ...; e_{F+L}],  x_text = encoder(E[w_1], ..., E[w_n]),  x_image = encoder(2 pixels - 1)
///   r = fusion(x) (+ e_s with scene "embedding"),   h = hidden(r),   logits = W h + b
///
/// with W and b of the row's scene where scene is "heads". The data decide which modalities there are: ids, all
/// categorical fields and multi-hot columns together (of a multi-hot column the mean of its vectors), the text column,
/// and each image column. A cell that is empty has the vector 0. A row lacks the ids when all their cells are empty, a
/// text without words and an image that is missing; an id that training did not know is there. What a row lacks changes
/// nothing. The loss is that of `smoothed_loss`. Numeric columns and sequences are not read.
///
/// Shapes: B batch, M modalities, F fields, L multi-hot columns, C classes, S scenes.
class MultiModalImpl : public Model {
 public:
  /// Throws ValueError for data of another task or without any of the three, and for options out of range.
  explicit MultiModalImpl(std::shared_ptr<const data::Schema> schema, MultiModalOptions options = {});
  /// Logits of the classes, [B, C].
  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor loss(const data::Batch& batch) override;
  /// weights [B, M]: what each modality weighs in the fusion, ids, text, images in the order of their columns;
  /// present bool [B, M]; with a text attention [B, T] over its words, words int64 [B]; with images
  /// attention_<column> [B, h', w'].
  Explanation explain(const data::Batch& batch) override;
  std::string name() const override { return "multi_modal"; }
  OptionMap options_map() const override { return to_map(options); }
  /// Names of the modalities, [M].
  const std::vector<std::string>& modalities() const { return modalities_; }

  MultiModalOptions options;
  nn::FeatureEmbedding ids = nullptr;    ///< e; empty without categorical fields and multi-hot columns
  torch::nn::Embedding words = nullptr;  ///< E; empty without a text column
  nn::TextEncoder text_encoder = nullptr;
  torch::nn::ModuleList image_encoders = nullptr;  ///< one an image column
  nn::Fusion fusion = nullptr;
  ClassHead head;  ///< e_s, the hidden layers, W, b

 private:
  struct Read {
    nn::Attended fused;
    torch::Tensor present;  // bool [B, M]
    nn::Attended text;      // output [B, width], weights [L]; undefined without a text column
    std::vector<torch::Tensor> positions;
  };
  Read read(const data::Batch& batch);
  std::pair<torch::Tensor, torch::Tensor> read_ids(const data::Batch& batch);  // [B, (F + L) D], bool [B]

  std::vector<std::string> modalities_;
  std::string text_column_;
  nn::FieldRows word_rows_;
  std::vector<data::ImageSize> images_;
};
TORCH_MODULE(MultiModal);

}  // namespace polyscene::models
