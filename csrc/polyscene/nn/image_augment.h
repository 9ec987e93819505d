#pragma once

#include <torch/torch.h>

#include "polyscene/core/options.h"

namespace polyscene::nn {

/// Options for `ImageAugment`; 0 leaves a change out.
struct ImageAugmentOptions {
  /// Largest shift of the content along each axis, in whole pixels.
  TORCH_ARG(int64_t, shift) = 0;
  /// Largest rotation to either side, in degrees.
  TORCH_ARG(double, rotate) = 0;
  /// Largest change of size: the content grows by a factor between 1 / (1 + scale) and 1 + scale.
  TORCH_ARG(double, scale) = 0;
  /// Largest share of each side that is cut off; what is left, at any place, fills the image. In [0, 1).
  TORCH_ARG(double, crop) = 0;
  /// Probability of a mirror image, left for right. In [0, 1].
  TORCH_ARG(double, flip) = 0;
  /// Largest number added to all pixels of an image, or taken away.
  TORCH_ARG(double, brightness) = 0;
  /// Largest relative change of the distance of pixels from their mean. In [0, 1].
  TORCH_ARG(double, contrast) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("shift", self.shift(), "largest shift of the content along each axis, in whole pixels");
    visit("rotate", self.rotate(), "largest rotation to either side, in degrees");
    visit("scale", self.scale(), "largest change of size: a factor between 1 / (1 + scale) and 1 + scale");
    visit("crop", self.crop(), "largest share of each side that is cut off, in [0, 1)");
    visit("flip", self.flip(), "probability of a mirror image, left for right, in [0, 1]");
    visit("brightness", self.brightness(), "largest number added to all pixels of an image, or taken away");
    visit("contrast", self.contrast(), "largest relative change of the distance of pixels from their mean, in [0, 1]");
  }
};

/// Images as they might have been, drawn anew at each forward in training; x itself in evaluation and where all amounts
/// are 0. One image at a time, with u, v uniform in [-1, 1]:
///
///   x'(p) = x(A (p - d) + o)    p from the centre in pixels, d a drawn whole shift, A = c / z R(angle),
///                               z = (1 + scale)^u, c = 1 - crop (u + 1) / 2, o = (1 - c) / 2 (width v, height v')
///   x' <- mirrored x' with probability flip
///   x' <- clamp((1 + contrast u) (x' - mean) + mean + brightness v, 0, 1)
///
/// Between pixels x is bilinear, outside of the image 0. Each image takes ten numbers of torch's generator, whatever
/// the amounts (none where all are 0), so that one change does not alter the draws of another.
class ImageAugmentImpl : public torch::nn::Cloneable<ImageAugmentImpl> {
 public:
  /// Throws ValueError for options out of range.
  explicit ImageAugmentImpl(ImageAugmentOptions options = {});
  void reset() override {}
  /// x: [B, C, h, w], values in [0, 1]. Returns the same shape.
  torch::Tensor forward(const torch::Tensor& x);
  /// Whether it changes anything.
  bool any() const { return moves() || options.flip() > 0 || colours(); }

  ImageAugmentOptions options;

 private:
  bool moves() const {
    return options.shift() > 0 || options.rotate() > 0 || options.scale() > 0 || options.crop() > 0;
  }
  bool colours() const { return options.brightness() > 0 || options.contrast() > 0; }
  torch::Tensor moved(const torch::Tensor& x, const torch::Tensor& u) const;
};
TORCH_MODULE(ImageAugment);

}  // namespace polyscene::nn
