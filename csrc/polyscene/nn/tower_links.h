#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Towers beside one another that read each other's layers. A users with K items each, S towers of width H; a tower
/// takes part for a user, or does not.

/// First layer: z[a K + k, s] = base[a, s] + here[a, s] x[a K + k] + there[a, s] y[a K + k].
/// Shapes: base [A, S, H], here and there [A, S], x and y [A K, H], result [A K, S, H].
torch::Tensor linked_input(const torch::Tensor& base, const torch::Tensor& here, const torch::Tensor& there,
                           const torch::Tensor& x, const torch::Tensor& y);

/// What the next layer reads: what a tower holds itself, and beside it what the others send,
///   own = part relu(z),  sent[.., s] = share[.., s] (sum_t own[.., t] - own[.., s]).
/// Shapes: z [A K, S, H], part (0 or 1) and share [A, S], result [own; sent], [A K, S, 2 H].
///
/// Each in one pass forward and one backward. `here`, `there`, `part` and `share` get no gradient. Raw loops on plain
/// float32 and float64 CPU tensors, ATen everywhere else. Throws ValueError for shapes that do not fit.
torch::Tensor linked(const torch::Tensor& z, const torch::Tensor& part, const torch::Tensor& share);

}  // namespace polyscene::nn
