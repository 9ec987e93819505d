#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Weighted sum of the outputs of experts, in one pass: out[b] = sum_e weight[b, e] values[b, e].
///
/// Shapes: weight [B, E], values [B, E, H]; result [B, H]. Throws ValueError for shapes that do not fit.
torch::Tensor mixture(const torch::Tensor& weight, const torch::Tensor& values);

/// Second-order factorisation machine, in one pass (Rendle, ICDM 2010):
///
///   out[b] = sum_{f < g} v[b, f] . v[b, g] = 1/2 sum_d ((sum_f v[b, f, d])^2 - sum_f v[b, f, d]^2)
///
/// Shapes: slots v [B, F, D]; result [B].
torch::Tensor pair_products(const torch::Tensor& slots);

}  // namespace polyscene::nn
