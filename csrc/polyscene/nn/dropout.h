#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Dropout in one pass over memory (Srivastava et al., JMLR 2014): y = x m / (1 - p), each m 1 with probability 1 - p;
/// x itself outside of training. What is dropped follows from one number of torch's generator and from the place in x:
/// nothing is stored for the backward pass, and threads change no bit. p lies in [0, 1); x has any shape.
torch::Tensor drop(const torch::Tensor& x, double p, bool training);

}  // namespace polyscene::nn
