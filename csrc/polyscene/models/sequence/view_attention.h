#pragma once

#include <torch/torch.h>

#include <vector>

namespace polyscene::models {

/// What one asks of several views, each a list of keys (the triple attention of Tri-CDR, Ma et al., TOIS 2024, after
/// DIN):
///
///   out_v = sum_j softmax_j(MLP([k_j; u; k_j * u; u - k_j; k-bar])) k_j         over the keys of view v; 0 without any
///
/// k-bar is the mean of the keys of the first view, and the MLP, with PReLU, is the same for all views. Its first layer
/// is taken apart, so that a pair of query and key costs one product of width D. Shapes: n queries, V views, D width.
class ViewAttentionImpl : public torch::nn::Cloneable<ViewAttentionImpl> {
 public:
  /// Throws ValueError for widths that are not positive, or none.
  ViewAttentionImpl(int64_t dim, std::vector<int64_t> hidden);
  void reset() override;
  /// keys [m, D], query [n, D]; pair int64 [P] are the keys of each view of each query, those of view v of query i at
  /// [offsets[V i + v], offsets[V i + v + 1]), offsets int64 [V n + 1]. [n, V, D].
  torch::Tensor forward(const torch::Tensor& keys, const torch::Tensor& query, const torch::Tensor& pair,
                        const torch::Tensor& offsets, int64_t views);

  int64_t dim;
  std::vector<int64_t> hidden;
  torch::Tensor first, first_bias;          ///< [A, 5, D] and [A], A the first hidden width
  torch::nn::ModuleList linears = nullptr;  ///< the other layers, the last of width 1
  torch::Tensor slope;                      ///< of the PReLU after each hidden layer; starts at 0.25
};
TORCH_MODULE(ViewAttention);

}  // namespace polyscene::models
