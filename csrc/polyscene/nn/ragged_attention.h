#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Scaled dot-product self-attention within each of many sequences that lie one after another, without padding:
///
///   out_i = sum_j drop(softmax_j(q_i . k_j / sqrt(d))) v_j       for each head, of width d = D / heads
///
/// over j <= i of the same sequence where `causal`, else over all of it. Weights are not kept but computed again in the
/// backward pass, so that memory grows with the events and not with their squares.
///
/// Shapes: q [L, D], kv [L, 2 D] (keys, then values), offsets int64 [B + 1] on the CPU; result [L, D]. `dropout` (of
/// the weights, in [0, 1)) follows from one number of torch's generator and from the place of the weight. Raw loops on
/// plain float32 and float64 CPU tensors, ATen everywhere else. Threads change no bit. Throws ValueError for shapes
/// that do not fit.
torch::Tensor ragged_attention(const torch::Tensor& q, const torch::Tensor& kv, const torch::Tensor& offsets,
                               int64_t heads, bool causal, double dropout = 0);

/// What the newest event of one sequence attends to, where keys and values of all its n events are kept: the last row
/// of the causal form. q [1, D], kv [n, 2 D]; result [1, D]. Records no gradients. Throws ValueError as above.
torch::Tensor attend_newest(const torch::Tensor& q, const torch::Tensor& kv, int64_t heads);
/// The same on rows of `dim` numbers; n keys and values of 2 `dim` lie one after another, `weights` is room for n.
void attend_newest(const float* q, const float* kv, int64_t n, int64_t dim, int64_t heads, float* out, float* weights);
void attend_newest(const double* q, const double* kv, int64_t n, int64_t dim, int64_t heads, double* out,
                   double* weights);

}  // namespace polyscene::nn
