#pragma once

#include <torch/torch.h>

#include <memory>

#include "polyscene/nn/sparse_matrix.h"

namespace polyscene::nn {

/// The edges of a square sparse matrix by the node that gathers (rows) and by the node that is gathered (columns).
struct Edges {
  explicit Edges(const SparseMatrix& matrix);
  torch::Tensor offsets, columns;                    ///< int64 [N + 1], int32 [n]: edge e of row i gathers columns[e]
  torch::Tensor back_offsets, back_rows, back_edge;  ///< int64 [N + 1], int32 [n], int64 [n]: the same by columns
};

/// Attention over edges (Velickovic et al., ICLR 2018), in each head h:
///
///   l_ij = leaky_relu(to_ih + from_jh),  p_ij = exp(l_ij) / sum_{j' in N(i)} exp(l_ij'),  y_i = sum_j drop(p_ij) x_j
///
/// Shapes: x [N, H, C], to and from [N, H], result [N, H, C]; nodes without edges get 0. Kept for gradients: n * H
/// numbers. Rows are dealt to threads, each summed in order: bits do not depend on their number. Second derivatives are
/// refused (NotImplementedError). Throws ValueError for shapes that do not fit, TypeError unless all are float32 or all
/// float64 on the CPU.
torch::Tensor graph_attention(const std::shared_ptr<const Edges>& edges, const torch::Tensor& x,
                              const torch::Tensor& to, const torch::Tensor& from, double slope, double dropout,
                              bool training);

}  // namespace polyscene::nn
