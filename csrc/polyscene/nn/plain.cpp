#include "polyscene/nn/plain.h"

#include <ATen/TensorSubclassLikeUtils.h>
#include <torch/csrc/jit/frontend/tracer.h>

#include <utility>

namespace polyscene::nn {
namespace {

thread_local bool refused = false;

}  // namespace

bool plain(std::initializer_list<torch::Tensor> tensors) {
  if (refused || torch::jit::tracer::isTracing()) return false;
  auto type = at::ScalarType::Undefined;
  for (const auto& tensor : tensors) {
    if (!tensor.defined()) continue;
    if (at::isTensorSubclassLike(tensor) || !tensor.device().is_cpu() || tensor.layout() != torch::kStrided ||
        tensor._fw_grad(/*level=*/0).defined()) {
      return false;
    }
    if (type == at::ScalarType::Undefined) type = tensor.scalar_type();
    if (tensor.scalar_type() != type) return false;
  }
  return type == torch::kFloat32 || type == torch::kFloat64;
}

PlainGuard::PlainGuard() : before_(std::exchange(refused, true)) {}
PlainGuard::~PlainGuard() { refused = before_; }

}  // namespace polyscene::nn
