#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "polyscene/nn/sparse_matrix.h"

namespace polyscene::nn {

/// Nodes of several scenes in one numbering, the edges inside scenes, and the nodes that are one user or item in
/// several scenes.
struct SceneGraph {
  std::shared_ptr<const SparseMatrix> edges;     ///< A, [P, P]
  torch::Tensor shared;                          ///< int64 [Q], ascending: nodes that exchange
  std::shared_ptr<const SparseMatrix> exchange;  ///< E, [Q, Q]
};

/// How features walk the graph.
struct Propagation {
  int64_t layers = 2;
  bool residual = true;  ///< whether a node keeps what it has
  double dropout = 0;    ///< of a layer's features, in training
};

/// The features of `rows`, int64 [n], in every layer, [n, L + 1, D], of
///
///   Y = drop(r X_k + S + S * X_k),  S = A X_k,  r 1 with `residual`, else 0
///   X_{k + 1} = Y, but E Y[shared] for the rows that exchange
///
/// The layer of BiTGCF (Liu et al., CIKM 2020). Gradients go to X_0 [P, D], in one dense buffer that all layers add to.
/// What is dropped follows from one number of torch's generator. Raw loops on plain CPU tensors, ATen operators
/// everywhere else. Throws ValueError for shapes that do not fit.
torch::Tensor propagate_to(const SceneGraph& graph, const Propagation& how, const torch::Tensor& x,
                           const torch::Tensor& rows, bool training);

/// All nodes in every layer, L + 1 of [P, D], in evaluation and without gradients.
std::vector<torch::Tensor> propagate_all(const SceneGraph& graph, const Propagation& how, const torch::Tensor& x);

}  // namespace polyscene::nn
