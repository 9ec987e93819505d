#pragma once

#include <torch/torch.h>

namespace polyscene::train {

/// A sparse gradient with ascending rows and no repeats, the entries of a row added up in their order: the same bits
/// for any number of threads. Tables of embeddings on the CPU are sorted by counting, everything else by ATen. Autograd
/// forgets that a gradient was so when it stores it: one that is, is only marked.
torch::Tensor coalesced(const torch::Tensor& gradient);

}  // namespace polyscene::train
