#pragma once

#include <memory>

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

}  // namespace polyscene::models
