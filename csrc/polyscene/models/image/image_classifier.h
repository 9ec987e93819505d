#pragma once

#include "polyscene/data/images.h"
#include "polyscene/models/class_head.h"
#include "polyscene/nn/image_augment.h"
#include "polyscene/nn/image_encoder.h"

namespace polyscene::models {

/// Options for `ImageClassifier`.
struct ImageClassifierOptions {
  TORCH_ARG(std::string, encoder) = "cnn";
  TORCH_ARG(std::vector<int64_t>, widths) = {16, 32, 64};
  TORCH_ARG(int64_t, layers) = 1;
  TORCH_ARG(int64_t, kernel) = 3;
  TORCH_ARG(std::string, norm) = "group";
  TORCH_ARG(std::string, pool) = "attention";
  TORCH_ARG(std::vector<int64_t>, hidden) = {64};
  TORCH_ARG(std::string, scene) = "none";
  TORCH_ARG(double, dropout) = 0.1;
  TORCH_ARG(double, label_smoothing) = 0;
  TORCH_ARG(int64_t, shift) = 0;
  TORCH_ARG(double, rotate) = 0;
  TORCH_ARG(double, scale) = 0;
  TORCH_ARG(double, crop) = 0;
  TORCH_ARG(double, flip) = 0;
  TORCH_ARG(double, brightness) = 0;
  TORCH_ARG(double, contrast) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("encoder", self.encoder(), "cnn or resnet");
    visit("widths", self.widths(), "channels of the maps, stage by stage; the last is the width of an image's vector");
    visit("layers", self.layers(), "convolutions (cnn) or residual blocks (resnet) of a stage");
    visit("kernel", self.kernel(), "side of the filters, an odd number");
    visit("norm", self.norm(), "normalisation of the maps: group, batch or none");
    visit("pool", self.pool(), "how positions of the last map become one vector: attention or mean");
    visit("hidden", self.hidden(), "widths of the hidden layers behind the encoder");
    visit("scene", self.scene(),
          "what is special to a scene: none; embedding: a vector added to the image's; heads: the output layer");
    visit("dropout", self.dropout(), "dropout of the last map and of hidden layers");
    visit("label_smoothing", self.label_smoothing(), "share of the target that is spread over all classes, in [0, 1)");
    visit("shift", self.shift(), "training: largest shift along each axis, in whole pixels");
    visit("rotate", self.rotate(), "training: largest rotation to either side, in degrees");
    visit("scale", self.scale(), "training: largest change of size, a factor between 1 / (1 + scale) and 1 + scale");
    visit("crop", self.crop(), "training: largest share of each side that is cut off, in [0, 1)");
    visit("flip", self.flip(), "training: probability of a mirror image, left for right, in [0, 1]");
    visit("brightness", self.brightness(), "training: largest number added to all pixels of an image, or taken away");
    visit("contrast", self.contrast(), "training: largest relative change of the distance of pixels from their mean");
  }
};

/// Classes of images: a `nn::ImageEncoder` over normalised pixels, hidden layers, one logit for each class.
///
///   r = encoder((x - m) / sd) (+ e_s with scene "embedding"),   h = hidden(r),   logits = W h + b
///
/// with W and b of the row's scene where scene is "heads". m and sd are mean and standard deviation of the pixels of
/// each channel over the first training rows that the model is prepared with, images that are missing left out; they
/// are saved with it and stay when it trains on, since its weights were made for them. In training x is changed by a
/// `nn::ImageAugment` first, of which every amount is 0 unless it is given. The loss is that of `smoothed_loss`. Other
/// columns than the image are not read.
///
/// Shapes: B batch, H last hidden layer, C classes, S scenes, [h', w'] the last map.
class ImageClassifierImpl : public Model {
 public:
  /// Throws ValueError for data of another task or without an image column, and for options out of range.
  explicit ImageClassifierImpl(std::shared_ptr<const data::Schema> schema, ImageClassifierOptions options = {});
  /// Logits of the classes, [B, C].
  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor loss(const data::Batch& batch) override;
  /// attention [B, h', w']: the weight of each position of the last map.
  Explanation explain(const data::Batch& batch) override;
  /// Takes m and sd from the rows of `train`, once.
  void prepare(const data::Table& train) override;
  std::string name() const override { return "image_classifier"; }
  OptionMap options_map() const override { return to_map(options); }

  ImageClassifierOptions options;
  nn::ImageAugment augment = nullptr;
  nn::ImageEncoder encoder = nullptr;
  ClassHead head;            ///< e, the hidden layers, W, b
  torch::Tensor pixel_mean;  ///< m, [channels], of pixels in [0, 1]
  torch::Tensor pixel_std;   ///< sd, [channels], 1 where all pixels are alike
  torch::Tensor pixel_rows;  ///< int64 [channels], images that m and sd were taken from; 0 before `prepare`

 private:
  nn::Attended read(const data::Batch& batch);

  data::ImageSize size_;
};
TORCH_MODULE(ImageClassifier);

}  // namespace polyscene::models
