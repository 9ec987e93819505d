#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Rows of length 1: out = x / max(|x|, 1e-12), in one pass, as is its gradient g -> (g - out (g . out)) / |x|.
///
/// Layers of a graph are compared by direction, while what they start from keeps its length: of `every` rows that
/// follow one another the first is left as it is; 0: none is. Shapes: x [n, D] and the result alike, n a multiple of
/// `every`. Raw loops on plain float32 and float64 CPU tensors, ATen everywhere else. Throws ValueError for shapes that
/// do not fit.
torch::Tensor unit_rows(const torch::Tensor& x, int64_t every = 0);

}  // namespace polyscene::nn
