#pragma once

#include <torch/torch.h>

#include <vector>

namespace polyscene::nn {

/// x itself, whose gradient is multiplied by -`strength` (gradient reversal: Ganin and Lempitsky, ICML 2015).
torch::Tensor reverse_gradient(const torch::Tensor& x, double strength);

/// How strongly the gradient is reversed after a share `progress` of the training, in [0, 1]:
/// 2 / (1 + exp(-gamma p)) - 1 (Ganin et al., JMLR 2016, where gamma is 10).
double reversal_strength(double progress, double gamma = 10);

/// Unbiased squared maximum mean discrepancy between two samples (Gretton et al., JMLR 2012), which may be negative:
///
///   1 / (n (n-1)) sum_{i != j} k(x_i, x_j) + 1 / (m (m-1)) sum_{i != j} k(y_i, y_j) - 2 / (n m) sum_ij k(x_i, y_j)
///   k(a, b) = sum_c exp(-||a - b||^2 / (2 c s2))
///
/// over the scales c (Long et al., ICML 2015). s2 is `bandwidth`, or for 0 the mean squared distance between different
/// rows of both, without a gradient. x [n, H], y [m, H] with n, m > 1; else ValueError. [].
torch::Tensor mmd(const torch::Tensor& x, const torch::Tensor& y, const std::vector<double>& scales = {0.5, 1, 2},
                  double bandwidth = 0);

/// ||C_x - C_y||_F^2 / (4 H^2) with covariances C = Xc' Xc / (n - 1) (Sun and Saenko, ECCV 2016 workshops); means do
/// not count. x [n, H], y [m, H] with n, m > 1; else ValueError. [].
torch::Tensor coral(const torch::Tensor& x, const torch::Tensor& y);

/// What a student loses against a teacher, of each row, [B] (Hinton, Vinyals and Dean, 2015):
///
///   T^2 (cross-entropy of softmax(s / T) under softmax(t / T) - the entropy of softmax(t / T))     logits [B, C]
///   T^2 (cross-entropy of sigma(s / T) under sigma(t / T))                                          logits [B]
///
/// T^2 keeps the size of the gradient whatever T. `teacher` is made of probabilities at temperature T, [B] or [B, C],
/// without a gradient, so that those of several teachers can be averaged.
torch::Tensor distillation(const torch::Tensor& student, const torch::Tensor& teacher, double temperature);

}  // namespace polyscene::nn
