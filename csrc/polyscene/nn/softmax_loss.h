#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Cross-entropy of rows against many classes, without their logits in memory at once:
///
///   sum_i log sum_c exp(x_i . w_c) - x_i . w_{target_i}
///
/// Shapes: x [n, D], w [C, D], target int64 [n] in [0, C); result []. Rows go in blocks; what a block adds to the
/// gradients is made where its logits are, so that a step costs three products. Raw loops on plain float32 and float64
/// CPU tensors, ATen everywhere else; threads change no bit. Throws ValueError for shapes that do not fit, IndexError
/// for a target out of range.
torch::Tensor softmax_loss(const torch::Tensor& x, const torch::Tensor& w, const torch::Tensor& target);

}  // namespace polyscene::nn
