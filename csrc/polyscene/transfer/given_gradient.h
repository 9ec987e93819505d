#pragma once

#include <torch/torch.h>

#include <vector>

namespace polyscene::transfer {

/// A number whose backward hands out gradients that were made before: `value` [] with d value / d parameters[i] =
/// gradients[i], dense or sparse; an undefined gradient is none.
torch::Tensor with_gradient(const torch::Tensor& value, const std::vector<torch::Tensor>& parameters,
                            const std::vector<torch::Tensor>& gradients);

/// PCGrad (Yu et al., NeurIPS 2020) on the gradients of tasks, [P] each: of every task i, for the others j in the order
/// `orders[i]`, what points against g_j is taken off, g_i -= (g_i . g_j) / ||g_j||^2 g_j where g_i . g_j < 0, with g_j
/// as it was given. Returns the projected gradients; their sum is the step.
std::vector<torch::Tensor> project_conflicts(const std::vector<torch::Tensor>& gradients,
                                             const std::vector<std::vector<int64_t>>& orders);

}  // namespace polyscene::transfer
