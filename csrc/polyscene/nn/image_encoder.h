#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "polyscene/core/options.h"
#include "polyscene/nn/attention.h"

namespace polyscene::nn {

/// Options for `ImageEncoder`.
struct ImageEncoderOptions {
  /// cnn or resnet.
  TORCH_ARG(std::string, kind) = "cnn";
  /// Channels of the maps, stage by stage; the last is the width of an image's vector (H).
  TORCH_ARG(std::vector<int64_t>, widths) = {16, 32, 64};
  /// Convolutions (cnn) or residual blocks (resnet) of a stage.
  TORCH_ARG(int64_t, layers) = 1;
  /// Side of the filters, an odd number.
  TORCH_ARG(int64_t, kernel) = 3;
  /// Normalisation of the maps: group, batch or none.
  TORCH_ARG(std::string, norm) = "group";
  /// How positions of the last map become one vector: attention or mean.
  TORCH_ARG(std::string, pool) = "attention";
  /// Dropout of the last map.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("kind", self.kind(), "cnn or resnet");
    visit("widths", self.widths(), "channels of the maps, stage by stage; the last is the width of an image's vector");
    visit("layers", self.layers(), "convolutions (cnn) or residual blocks (resnet) of a stage");
    visit("kernel", self.kernel(), "side of the filters, an odd number");
    visit("norm", self.norm(), "normalisation of the maps: group, batch or none");
    visit("pool", self.pool(), "how positions of the last map become one vector: attention or mean");
    visit("dropout", self.dropout(), "dropout of the last map");
  }
};

/// Images to one vector an image: a map of states, then additive attention over its positions p (Yang et al., NAACL
/// 2016), or their mean:
///
///   a_p = softmax_p(c . tanh(W h_p + b)),   out = sum_p a_p h_p
///
///   cnn     h <- relu(norm(F * h + b)) for each convolution; between stages the largest of each 2 x 2 positions
///   resnet  h = relu(norm(F_0 * x + b)), then blocks h <- relu(s(h) + norm(F_2 * relu(norm(F_1 * h)))); the first
///   block
///           of each later stage moves by steps of 2, and s is a 1 x 1 convolution with a norm there, elsewhere h
///           itself (He et al., CVPR 2016, basic blocks, "B" shortcuts)
///
/// Filters reach over the edge, where zeros stand, and start as He et al. (ICCV 2015). Norms: group (`group_norm`): a
/// row knows nothing of the others, and no statistics of one scene stay behind for another, hence the default; batch
/// (Ioffe and Szegedy, ICML 2015), whose running statistics are those of all scenes that trained; none.
///
/// Shapes: B images, C channels, [h, w] the image, [h', w'] the last map, H the last width.
class ImageEncoderImpl : public torch::nn::Cloneable<ImageEncoderImpl> {
 public:
  /// Throws ValueError for options out of range.
  explicit ImageEncoderImpl(int64_t channels, ImageEncoderOptions options = {});
  void reset() override;
  /// x: [B, C, h, w]. Returns [B, H].
  torch::Tensor forward(const torch::Tensor& x);
  /// The same with the weights of the positions, [B, h', w'], which add up to 1 in each image.
  Attended attend(const torch::Tensor& x);
  /// The last map, [B, H, h', w'].
  torch::Tensor map(const torch::Tensor& x);
  /// Width of an image's vector (H).
  int64_t output_size() const { return options.widths().back(); }

  int64_t channels;
  ImageEncoderOptions options;
  torch::nn::ModuleList convolutions = nullptr;  ///< in the order of the forward, a shortcut behind its block
  torch::nn::ModuleList norms = nullptr;         ///< one behind each of them; empty with norm "none"
  torch::nn::Linear position = nullptr;          ///< W, b of the attention; empty with pool "mean"
  torch::Tensor context;                         ///< c, [H]

 private:
  void add(int64_t from, int64_t to, int64_t kernel, int64_t step);
  torch::Tensor convolved(size_t index, const torch::Tensor& x);
};
TORCH_MODULE(ImageEncoder);

}  // namespace polyscene::nn
