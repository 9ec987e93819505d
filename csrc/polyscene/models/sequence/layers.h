#pragma once

#include <torch/torch.h>

#include <cmath>

namespace polyscene::models {

inline torch::nn::LayerNorm norm_layer(int64_t width, double eps) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(eps));
}

/// How the newest event of each list weighs its events: softmax_j(q_newest . k_j / sqrt(d)) for each head, of width
/// d = D / heads. q [L, D], kv [L, 2 D] (keys, then values), offsets int64 [B + 1]; result [L, heads].
inline torch::Tensor newest_weights_of(const torch::Tensor& q, const torch::Tensor& kv, const torch::Tensor& offsets,
                                       int64_t heads) {
  const auto lengths = offsets.diff();
  const auto lists = lengths.numel(), dim = q.size(1);
  const auto owner = torch::arange(lists).repeat_interleave(lengths);
  const auto newest = q.index_select(0, (offsets.slice(0, 1) - 1).index_select(0, owner));
  const auto products = (newest * kv.narrow(1, 0, dim)).view({q.size(0), heads, dim / heads}).sum(2);
  const auto scores = products / std::sqrt(static_cast<double>(dim / heads));  // [L, heads]
  const auto top = torch::zeros({lists, heads}, q.options())
                       .scatter_reduce(0, owner.unsqueeze(1).expand({-1, heads}), scores, "amax",
                                       /*include_self=*/false);
  const auto weights = (scores - top.index_select(0, owner)).exp();
  const auto sums = torch::zeros({lists, heads}, q.options()).index_add(0, owner, weights);
  return weights / sums.index_select(0, owner);
}

}  // namespace polyscene::models
