#pragma once

#include <torch/torch.h>

#include <optional>
#include <string>
#include <vector>

#include "polyscene/core/options.h"
#include "polyscene/nn/attention.h"
#include "polyscene/nn/multi_head_attention.h"

namespace polyscene::nn {

/// Options for `Fusion`.
struct FusionOptions {
  /// concat, gated or cross_attention.
  TORCH_ARG(std::string, kind) = "gated";
  /// Width of the fused vector (H).
  TORCH_ARG(int64_t, hidden) = 64;
  /// cross_attention: heads; must divide the width.
  TORCH_ARG(int64_t, heads) = 2;
  /// Dropout of the fused vector.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("kind", self.kind(), "concat, gated or cross_attention");
    visit("hidden", self.hidden(), "width of the fused vector");
    visit("heads", self.heads(), "cross_attention: heads; must divide the width");
    visit("dropout", self.dropout(), "dropout of the fused vector");
  }
};

/// Vectors of M modalities of a row to one vector, of those that the row has:
///
///   concat           W [x_1; ...; x_M] + b, with a learned vector, 0 at first, in the place of one that is missing
///   gated            sum_m z_m tanh(W_m x_m),  z = softmax over the present m of G [x_1; ...; x_M], 0 where missing
///   cross_attention  mean over the present m of norm(u_m + attention(u_m; the other present u)),  u_m = W_m x_m + b_m
///
/// gated is the gated multimodal unit (Arevalo et al., ICLR workshop 2017), with one gate for all units of a modality.
/// Of two modalities its softmax is the paper's z and 1 - z; for more the paper has a sigmoid of each, whose sum is
/// anything. cross_attention is multi-head attention (Vaswani et al., NeurIPS 2017) in which a modality does not see
/// itself. What a missing vector holds changes nothing, not even NaN; a row without any is 0.
///
/// Shapes: B batch, M modalities, D_m their widths, H hidden.
class FusionImpl : public torch::nn::Cloneable<FusionImpl> {
 public:
  /// sizes: D_m of each modality. Throws ValueError for options out of range.
  explicit FusionImpl(std::vector<int64_t> sizes, FusionOptions options = {});
  void reset() override;
  /// The fused vectors [B, H]; arguments as for `attend`.
  torch::Tensor forward(const std::vector<torch::Tensor>& x, const std::optional<torch::Tensor>& present = {});
  /// x: M tensors [B, D_m]; present: bool [B, M], true where the row has the modality (all without it). Returns [B, H]
  /// and the weights of the modalities [B, M], which add up to 1 over those present: of gated z, of cross_attention the
  /// mean attention that a modality gets from the others, of concat, which has none, equal shares.
  Attended attend(const std::vector<torch::Tensor>& x, const std::optional<torch::Tensor>& present = {});
  /// Width of what `forward` returns (H).
  int64_t output_size() const { return options.hidden(); }

  std::vector<int64_t> sizes;
  FusionOptions options;
  torch::nn::Linear projection = nullptr;       ///< concat: W, b
  torch::Tensor absent;                         ///< concat: what stands for missing vectors, [sum of D_m]
  torch::nn::Linear gate = nullptr;             ///< gated: G, [M, sum of D_m]
  torch::nn::ModuleList projections = nullptr;  ///< gated, cross_attention: W_m
  MultiHeadAttention attention = nullptr;       ///< cross_attention; this and the norm
  torch::nn::LayerNorm norm = nullptr;

 private:
  Attended concatenated(const std::vector<torch::Tensor>& x, const torch::Tensor& present);
  Attended gated(const std::vector<torch::Tensor>& x, const torch::Tensor& present);
  Attended crossed(const std::vector<torch::Tensor>& x, const torch::Tensor& present);
};
TORCH_MODULE(Fusion);

}  // namespace polyscene::nn
