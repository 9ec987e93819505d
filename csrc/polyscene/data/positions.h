#pragma once

#include <torch/torch.h>

namespace polyscene::data {

/// Positions as contiguous int64 [N]. Throws TypeError for a mask or for fractions, which would silently be cut to 0
/// and 1, and ValueError for what is no vector; `what` opens the message: "Batch.take: index".
inline torch::Tensor to_positions(const char* what, const torch::Tensor& given) {
  TORCH_CHECK_VALUE(given.defined() && given.dim() == 1, what, " must be a vector, got ",
                    given.defined() ? given.dim() : 0, " dimensions");
  TORCH_CHECK_TYPE(
      given.numel() == 0 || at::isIntegralType(given.scalar_type(), false), what, " must hold whole numbers, got ",
      given.scalar_type(),
      given.scalar_type() == torch::kBool ? "; mask.nonzero().squeeze(1) gives the positions of a mask" : "");
  return given.to(torch::kInt64).contiguous();
}

}  // namespace polyscene::data
