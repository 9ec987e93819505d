#pragma once

#include <torch/torch.h>

#include <string>

#include "polyscene/core/options.h"

namespace polyscene::nn {

/// Options for `CenterHead`.
struct CenterHeadOptions {
  /// Width of the hidden layer of each branch.
  TORCH_ARG(int64_t, hidden) = 64;
  /// Pixels of the image from one cell of the maps to the next (s).
  TORCH_ARG(int64_t, stride) = 4;
  /// Intersection over union that a box keeps when its corners move by the Gaussian's radius, in (0, 1).
  TORCH_ARG(double, min_overlap) = 0.7;
  /// Weight of the sizes in the loss.
  TORCH_ARG(double, size_weight) = 0.1;
  /// Weight of the centres' offsets in the loss.
  TORCH_ARG(double, offset_weight) = 1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("hidden", self.hidden(), "width of the hidden layer of each branch");
    visit("stride", self.stride(), "pixels of the image from one cell of the maps to the next");
    visit("min_overlap", self.min_overlap(),
          "intersection over union that a box keeps when its corners move by the Gaussian's radius, in (0, 1)");
    visit("size_weight", self.size_weight(), "weight of the sizes in the loss");
    visit("offset_weight", self.offset_weight(), "weight of the centres' offsets in the loss");
  }
};

/// Boxes of images that lie one after another: image b has boxes [offsets[b], offsets[b + 1]).
struct Boxes {
  torch::Tensor boxes;   ///< [L, 4]: left, top, right, bottom in pixels of the image, the right and bottom edge outside
  torch::Tensor labels;  ///< int64 [L], class of each
  torch::Tensor offsets;  ///< int64 [B + 1]
  torch::Tensor scores;   ///< [L], of found boxes, in (0, 1); undefined for true ones
};

/// What the maps of `CenterHead` are to be.
struct CenterTargets {
  torch::Tensor heat;    ///< [B, K, h, w], in [0, 1]
  torch::Tensor cells;   ///< int64 [L, 3]: image, row and column of each box's centre
  torch::Tensor sizes;   ///< [L, 2]: width and height in pixels
  torch::Tensor shifts;  ///< [L, 2]: from the corner of its cell to the centre, x and y in cells, in [0, 1)
};

/// Radius in which a corner of a box of this size may lie so that the intersection over union with the box stays
/// `min_overlap` at least: the smallest of the three cases of CornerNet (Law & Deng, ECCV 2018), both corners outside,
/// both inside, or one each, of which each is the root of its quadratic. (Its authors' code, which most others copy,
/// divides by 2 where it should by 2 a.)
double gaussian_radius(double width, double height, double min_overlap);

/// Detection without anchors, an object is the centre of its box (Zhou et al., arXiv:1904.07850, 2019). Each of three
/// branches, of the heat of K classes, of width and height, and of offsets, is a convolution of 3 x 3, relu, and one
/// of 1 x 1.
///
///   heat     Y_kyx = max over the boxes of class k of exp(-((x - x_i)^2 + (y - y_i)^2) / (2 sigma_i^2)),
///            sigma = (2 r + 1) / 6 with r the radius above in cells, (x_i, y_i) the cell that holds the centre c_i
///   loss     1/N [ sum -(1 - p)^2 log p where Y = 1, -(1 - Y)^4 p^2 log(1 - p) elsewhere
///                  + size_weight sum_i |size - size_i| + offset_weight sum_i |offset - (c_i / s - (x_i, y_i))| ]
///
/// with p = sigma(heat) and N the boxes of the batch (1 without any). Sizes are in pixels as the paper has them; its
/// authors' code has cells. Gaussians are not cut off. Heat starts at p = 0.1 (Lin et al., ICCV 2017).
///
/// Shapes: B batch, D channels of the features, h and w their height and width, K classes, L boxes.
class CenterHeadImpl : public torch::nn::Cloneable<CenterHeadImpl> {
 public:
  /// Throws ValueError for options out of range.
  CenterHeadImpl(int64_t input_size, int64_t classes, CenterHeadOptions options = {});
  void reset() override;
  /// x: [B, D, h, w]. Returns [B, K + 4, h, w]: logits of the heat, width and height in pixels, offsets of x and y.
  torch::Tensor forward(const torch::Tensor& x);
  /// What the maps of images of h x w cells are to be. Throws ValueError for boxes without width or height, with the
  /// centre outside of the image, and for labels that are no class.
  CenterTargets targets(const Boxes& truth, int64_t height, int64_t width) const;
  /// The loss above of `maps`, what `forward` returned.
  torch::Tensor loss(const torch::Tensor& maps, const Boxes& truth) const;
  /// The boxes of the peaks, those cells whose p none of the eight around them exceeds: at most `top` an image, of p
  /// `threshold` at least, the likeliest first. No other suppression. Without gradients.
  Boxes decode(const torch::Tensor& maps, int64_t top = 100, double threshold = 0.1) const;

  int64_t input_size;
  int64_t classes;
  CenterHeadOptions options;
  torch::nn::Conv2d heat_hidden = nullptr, heat_output = nullptr;
  torch::nn::Conv2d size_hidden = nullptr, size_output = nullptr;
  torch::nn::Conv2d offset_hidden = nullptr, offset_output = nullptr;

 private:
  void check_maps(const torch::Tensor& maps) const;
};
TORCH_MODULE(CenterHead);

}  // namespace polyscene::nn
