#pragma once

#include <torch/torch.h>

#include "polyscene/nn/scene_mlp.h"

namespace polyscene::nn {

/// A gate of each scene over K choices: softmax(W_s x), on rows grouped by scene.
///
/// With `normed`, softmax(norm_s(W_s x + b_s)): bias and batch norm in front of the softmax, as public references of
/// the mixture models have it. Shapes: x [B, I], result [B, K]; rows add up to 1.
class SceneGateImpl : public torch::nn::Cloneable<SceneGateImpl> {
 public:
  SceneGateImpl(int64_t input_size, int64_t choices, int64_t scenes = 1, bool normed = false);
  void reset() override;
  torch::Tensor forward(const torch::Tensor& x, const SceneGroups& groups);
  /// `forward` in two steps, for layers that share an x: W, and what follows z = W_s x, [B, K].
  SceneLayer first(const SceneGroups& groups) const { return {weight, {}, &groups}; }
  torch::Tensor after_first(const torch::Tensor& z, const SceneGroups& groups);

  int64_t input_size;
  int64_t choices;
  int64_t scenes;
  bool normed;
  torch::Tensor weight;                     ///< W, [S, 1, K, I]
  torch::Tensor scale, shift;               ///< [S, K]; with `normed`
  torch::Tensor running_mean, running_var;  ///< [S, K]; with `normed`
};
TORCH_MODULE(SceneGate);

}  // namespace polyscene::nn
