#pragma once

#include <torch/torch.h>

#include <vector>

#include "polyscene/nn/scene_groups.h"

namespace polyscene::nn {

/// 2 sigmoid(logit) h in one pass; shapes alike.
torch::Tensor gated(const torch::Tensor& logit, const torch::Tensor& h);

/// Gates around 1 that scale layers of another network by what is known in advance (Chang et al., KDD 2023):
///
///   delta_l = 2 sigmoid(W'_{s,l} relu(W_{s,l} [prior; sg(rest)] + b_{s,l}) + b'_{s,l})      in (0, 2), one for each l
///
/// sg stops the gradient: a gate shapes the prior, never the rest. W' and b' start at zero, so that every gate starts
/// at exactly 1. All first layers are one GEMM. With one scene the gates are shared; with more each scene has its own,
/// on rows grouped by scene. Shapes: prior [B, P], rest [B, R] (R may be 0), delta_l [B, O_l], hidden layers H_l.
class GateNUImpl : public torch::nn::Cloneable<GateNUImpl> {
 public:
  /// `hidden` 0: H_l = O_l.
  GateNUImpl(int64_t prior_size, int64_t rest_size, std::vector<int64_t> outputs, int64_t hidden = 0,
             int64_t scenes = 1);
  void reset() override;
  /// Logits of delta_1 .. delta_L, for `gated`; delta_l = 2 sigmoid of them.
  std::vector<torch::Tensor> forward(const torch::Tensor& prior, const torch::Tensor& rest, const SceneGroups& groups);
  /// The same for shared gates whose prior is that of the row's scene, [S, P]: a bias of each scene in the first layer.
  std::vector<torch::Tensor> of_scenes(const torch::Tensor& prior, const torch::Tensor& rest,
                                       const SceneGroups& groups);

  int64_t prior_size;
  int64_t rest_size;
  std::vector<int64_t> outputs;
  int64_t scenes;
  std::vector<int64_t> widths;                      ///< H_l
  torch::Tensor prior_weight, rest_weight;          ///< W by what it reads, [S, 1, H, P] and [S, 1, H, R]; H = sum H_l
  torch::Tensor bias;                               ///< b, [S, H]
  std::vector<torch::Tensor> out_weight, out_bias;  ///< W', [S, 1, O_l, H_l], and b', [S, 1, O_l]

 private:
  std::vector<torch::Tensor> finish(const torch::Tensor& h, const SceneGroups& groups);
};
TORCH_MODULE(GateNU);

}  // namespace polyscene::nn
