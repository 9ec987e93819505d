#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

// Layers on one row of numbers, where the call of an operator would cost more than its arithmetic. On the CPU, without
// gradients; parameters are contiguous and of the row's type.

/// out = W x + b, [O] from [I].
void linear_row(const torch::nn::LinearImpl& layer, const float* x, float* out);
void linear_row(const torch::nn::LinearImpl& layer, const double* x, double* out);

/// Layer norm of x + y in the place of x, [D]; y may be null.
void norm_row(const torch::nn::LayerNormImpl& layer, const float* y, float* x);
void norm_row(const torch::nn::LayerNormImpl& layer, const double* y, double* x);

}  // namespace polyscene::nn
