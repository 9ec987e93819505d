#pragma once

#include <torch/torch.h>

#include <initializer_list>
#include <optional>

namespace polyscene::nn {

/// Whether raw loops may read these tensors: float32 or float64 (all alike), strided, on the CPU, and neither tracing,
/// exporting, forward-mode derivatives nor a function transform is going on. Undefined tensors do not count.
bool plain(std::initializer_list<torch::Tensor> tensors);

/// A tensor that may be undefined, as torch::autograd::Function takes it.
inline std::optional<torch::Tensor> given(const torch::Tensor& tensor) {
  return tensor.defined() ? std::make_optional(tensor) : std::nullopt;
}

/// Makes `plain` answer false while it lives, so that every block runs on ATen operators: for derivatives of higher
/// order, and to compare. Per thread.
class PlainGuard {
 public:
  PlainGuard();
  ~PlainGuard();
  PlainGuard(const PlainGuard&) = delete;
  PlainGuard& operator=(const PlainGuard&) = delete;

 private:
  bool before_;
};

}  // namespace polyscene::nn
