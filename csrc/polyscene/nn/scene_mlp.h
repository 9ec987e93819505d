#pragma once

#include <torch/torch.h>

#include "polyscene/nn/mlp.h"
#include "polyscene/nn/norm_activation.h"
#include "polyscene/nn/scene_groups.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::nn {

/// Multi-layer perceptrons side by side: one for each scene, on the rows of that scene alone, and within each scene E
/// experts. One scene makes experts that all scenes share; one expert makes the tower of each scene.
///
///   h <- dropout(act(norm_s(W_{s,e} h + b_{s,e})))   for each hidden width, then W h + b when there is an output;
///                                                    no b in front of batch norm, which would take it off again
///
/// Rows come grouped by scene (`SceneGroups`), so that a scene's layer is one GEMM, and statistics of batch norm are of
/// that scene alone (`norm_activation`). Layer norm is over the width of each expert. Parameters start as those of
/// torch::nn::Linear, W and b in U(-1/sqrt(I), 1/sqrt(I)), each drawn on its own.
///
/// Shapes: S scenes, E experts; x [B, I] that all experts read, or [B, E, I]; result [B, E, O].
class SceneMLPImpl : public torch::nn::Cloneable<SceneMLPImpl> {
 public:
  SceneMLPImpl(int64_t input_size, MLPOptions options, int64_t scenes = 1, int64_t experts = 1);
  void reset() override;
  /// The layers on x, [B, E, output_size()].
  torch::Tensor forward(const torch::Tensor& x, const SceneGroups& groups);
  /// `forward` in two steps, for layers that share an x [B, I]: the product of the first layer, to be made by
  /// `scene_linear`, and what follows it; z [B, E O].
  SceneLayer first(const SceneGroups& groups) const;
  torch::Tensor after_first(const torch::Tensor& z, const SceneGroups& groups);
  /// The product of the first layer on rows that carry a vector of their scene beside x, [v_s, x] or, with `behind`,
  /// [x, v_s]: what the layer makes of v_s is the same for all rows of a scene and enters as a bias, so that the two
  /// are not laid side by side. For one scene's worth of layers that all share, and one expert; vectors [S, D] of the
  /// scenes of `groups`, x [B, I - D]; z [B, O]. Throws ValueError for shapes that do not fit.
  torch::Tensor first_with_scene(const torch::Tensor& x, const torch::Tensor& vectors, bool behind,
                                 const SceneGroups& groups);
  /// One hidden layer, dropout included, on h [B, E, I] or, for the first layer, [B, I]; [B, E, O].
  torch::Tensor hidden(int64_t layer, const torch::Tensor& h, const SceneGroups& groups);
  /// What follows the product of a hidden layer, z [B, E, O]: bias or norm, activation, dropout.
  torch::Tensor finish_hidden(int64_t layer, const torch::Tensor& z, const SceneGroups& groups);
  /// The output layer on h [B, E, I] or, where there is no hidden layer, [B, I]; [B, E, output].
  torch::Tensor finish(const torch::Tensor& h, const SceneGroups& groups);
  /// Width of what `forward` returns.
  int64_t output_size() const;
  int64_t layers() const { return static_cast<int64_t>(options.hidden().size()); }

  int64_t input_size;
  MLPOptions options;
  int64_t scenes;
  int64_t experts;
  std::vector<torch::Tensor> weight, bias;  ///< [S, E, O, I], [S, E, O] (or undefined) of each layer, the output's last
  std::vector<torch::Tensor> scale, shift;  ///< of the norm of each hidden layer, [S, E, O]
  std::vector<torch::Tensor> running_mean, running_var;  ///< of batch norm, [S, E, O]

 private:
  torch::Tensor linear(int64_t layer, const torch::Tensor& h, const torch::Tensor& added, const SceneGroups& groups);
};
TORCH_MODULE(SceneMLP);

}  // namespace polyscene::nn
