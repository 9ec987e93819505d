#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "polyscene/core/options.h"

namespace polyscene::nn {

/// Options for `UNet`.
struct UNetOptions {
  /// Channels of the finest level; each coarser one has twice as many.
  TORCH_ARG(int64_t, channels) = 16;
  /// Levels below the finest; each halves height and width.
  TORCH_ARG(int64_t, depth) = 3;
  /// Whether gates weigh what passes from the way down to the way up.
  TORCH_ARG(bool, attention) = true;
  /// Normalisation after each convolution of the blocks: none, batch or group.
  TORCH_ARG(std::string, norm) = "batch";
  /// Dropout of whole channels of the coarsest level.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("channels", self.channels(), "channels of the finest level; each coarser one has twice as many");
    visit("depth", self.depth(), "levels below the finest; each halves height and width");
    visit("attention", self.attention(), "whether gates weigh what passes from the way down to the way up");
    visit("norm", self.norm(), "normalisation after each convolution of the blocks: none, batch or group");
    visit("dropout", self.dropout(), "dropout of whole channels of the coarsest level");
  }
};

/// A class for every pixel: the U-Net (Ronneberger et al., MICCAI 2015) with attention gates (Oktay et al., MIDL 2018).
///
///   down    d_0 = block(x),  d_l = block(pool(d_{l-1}))          pool: the maximum of 2 x 2
///   up      u_n = d_n,       u_l = block([g_l; up(u_{l+1})])     up: transposed convolution of 2 x 2
///   gate    g_l = d_l a_l,   a_l = resized(sigma(psi(relu(W_x d_l + W_g u_{l+1}))))   for l > 0; g_0 = d_0
///   logits  W u_0 + b
///
/// A block is twice a convolution of 3 x 3, the norm, relu. W_x is a convolution of 2 x 2 in steps of 2, so that both
/// terms have the size of u_{l+1}, and a_l is resized between its pixels; as in that paper the finest level has no
/// gate. Unlike the U-Net of 2015 convolutions keep the size (zeros around), there is a norm, and images of any size
/// do: they are filled up with zeros at the right and the bottom to a multiple of 2^depth and the maps cut back. Norm
/// batch (Ioffe & Szegedy, ICML 2015) takes part of its statistics from the other images in training; with group
/// (`group_norm`) or none an image knows nothing of them, but group measures every image by itself, so that what all
/// pixels of an image have in common, such as its contrast, is lost.
/// Convolutions of the blocks and those that grow start as N(0, 2 / inputs), as in the paper of 2015, gates nearly
/// open.
///
/// Shapes: B batch, C channels of an image, H height, W width, K classes.
class UNetImpl : public torch::nn::Cloneable<UNetImpl> {
 public:
  /// Throws ValueError for options out of range.
  UNetImpl(int64_t input_size, int64_t classes, UNetOptions options = {});
  void reset() override;
  /// x: [B, C, H, W]. Returns the logits [B, K, H, W].
  torch::Tensor forward(const torch::Tensor& x);
  /// The gates a_l of the levels 1 to depth - 1, the finest first, [B, H / 2^l, W / 2^l] rounded up, in (0, 1); none
  /// without `attention`.
  std::vector<torch::Tensor> gates(const torch::Tensor& x);

  int64_t input_size;
  int64_t classes;
  UNetOptions options;
  torch::nn::ModuleList down = nullptr, up = nullptr;  ///< blocks of each level, the finest first
  torch::nn::ModuleList grow = nullptr;                ///< up of each level but the coarsest
  torch::nn::ModuleList skip_gates = nullptr, up_gates = nullptr,
                        gate_scores = nullptr;  ///< W_x, W_g, psi from level 1
  torch::nn::Conv2d output = nullptr;           ///< W, b

 private:
  torch::Tensor run(const torch::Tensor& x, std::vector<torch::Tensor>* gates);
};
TORCH_MODULE(UNet);

}  // namespace polyscene::nn
