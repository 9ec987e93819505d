#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Softmax of each row: exp(z_k) / sum_j exp(z_j). For few columns, as gates have, in one pass over memory, where
/// the general operator spends its time on starting each row.
///
/// Shapes: z [B, K]; result [B, K], rows add up to 1. In float32 what lies more than 87 below the
/// largest is 0. NaN in a row makes all of it NaN. The bits do not depend on
/// threads. Throws ValueError for a z of other dimensions.
torch::Tensor softmax_rows(const torch::Tensor& z);

}  // namespace polyscene::nn
