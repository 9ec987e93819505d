#pragma once

#include <torch/torch.h>

#include "polyscene/nn/scene_groups.h"

namespace polyscene::nn {

/// Adapter whose two matrices are generated for each row, at low rank, from a core I that a hyper-network makes (Li et
/// al., CIKM 2023):
///
///   a = sigmoid(((h U_1) I) V_1 + b),   u = ((a U_2) I) V_2,   out = h + gamma (u - mean_s) / sqrt(var_s + eps) + beta
///
/// The generated U_1 I V_1 [M, A] and U_2 I V_2 [A, M] of a row are never made: from left to right it takes vectors
/// alone. mean_s and var_s are statistics of each scene with running values (`norm_activation`); a bias of u would be
/// taken off again. U and V start Xavier uniform: equal ones would stay equal. Shapes: M width of h, A inner width, R
/// rank; h [B, M], core I [B, R, R].
class HyperAdapterImpl : public torch::nn::Cloneable<HyperAdapterImpl> {
 public:
  HyperAdapterImpl(int64_t width, int64_t inner, int64_t rank, int64_t scenes);
  void reset() override;
  /// Rows grouped by scene; [B, M].
  torch::Tensor forward(const torch::Tensor& h, const torch::Tensor& core, const SceneGroups& groups);

  int64_t width;
  int64_t inner;
  int64_t rank;
  int64_t scenes;
  torch::Tensor down_in, down_out;          ///< U_1, [M, R], and V_1, [R, A]
  torch::Tensor down_bias;                  ///< b, [A]
  torch::Tensor up_in, up_out;              ///< U_2, [A, R], and V_2, [R, M]
  torch::Tensor scale, shift;               ///< gamma and beta, [M]
  torch::Tensor running_mean, running_var;  ///< [S, M]
};
TORCH_MODULE(HyperAdapter);

}  // namespace polyscene::nn
