#pragma once

#include <torch/torch.h>

#include "polyscene/nn/scene_groups.h"

namespace polyscene::nn {

/// A linear layer whose weights another network makes, once for each scene (the meta unit of Zhang et al., WSDM 2022):
///
///   W_s = reshape(V u_s + v),   c_s = V' u_s + v',   out[b] = leaky_relu(W_s x[b] + c_s)       s the row's scene
///
/// The scene's vector u_s is all that tells scenes apart. `fixed` is a part of the input that is the same for all rows,
/// appended to x: W_s of it joins c_s, and no row pays for it. Shapes: u [S, U], x [B, I], fixed [I'], result [B, O];
/// rows are grouped by scene.
class MetaLinearImpl : public torch::nn::Cloneable<MetaLinearImpl> {
 public:
  MetaLinearImpl(int64_t scene_size, int64_t input_size, int64_t output_size);
  void reset() override;
  /// `input_size` is the width of x and fixed together.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& scenes, const SceneGroups& groups,
                        const torch::Tensor& fixed = {});

  int64_t scene_size;
  int64_t input_size;
  int64_t output_size;
  torch::nn::Linear weight = nullptr;  ///< V, [O I, U]
  torch::nn::Linear bias = nullptr;    ///< V', [O, U]
};
TORCH_MODULE(MetaLinear);

}  // namespace polyscene::nn
