#pragma once

#include <memory>

#include "polyscene/data/history.h"
#include "polyscene/data/interactions.h"
#include "polyscene/nn/sparse_matrix.h"

namespace polyscene::models {

/// How the edges of a graph are weighted; d is the number of edges of a node.
enum class EdgeWeight {
  kSymmetric,  ///< 1 / sqrt(d_u d_i)
  kMean,       ///< 1 / d of the node that gathers
};

/// Graph of users and items in one matrix, [U + I, U + I]: users first. Nodes without edges gather nothing. With
/// `loops` every node with edges also has one to itself, which counts as an edge.
std::shared_ptr<const nn::SparseMatrix> bipartite(const data::Interactions::Scene& pairs, EdgeWeight weight,
                                                  bool loops = false);

/// What followed what in training, [P, P]: the rows of nodes with followers sum to 1, by how often each came next. Node
/// shared[i] gathers from the items that came right after item i in any scene, node own[s, i] from those that came next
/// in scene s. `shared` int64 [I], `own` int64 [S I], -1 for no node. Unknown users and items are passed over.
std::shared_ptr<const nn::SparseMatrix> followers(const data::History& history, const torch::Tensor& shared,
                                                  const torch::Tensor& own, int64_t nodes);

}  // namespace polyscene::models
