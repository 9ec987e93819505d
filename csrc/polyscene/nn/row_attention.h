#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Self-attention over the few positions of each row, all of which count (Vaswani et al., NeurIPS 2017), in one pass:
///
///   out_f = sum_g softmax_g(q_f . k_g / sqrt(d)) v_g        for each head, of width d = D / heads
///
/// For short rows general kernels spend most of their time around the sums; here sixteen rows run side by side. Shapes:
/// qkv [B, F, 3 D], queries, keys and values one after the other; result [B, F, D]. Throws ValueError for shapes that
/// do not fit.
torch::Tensor row_attention(const torch::Tensor& qkv, int64_t heads);

}  // namespace polyscene::nn
