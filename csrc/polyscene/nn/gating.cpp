#include "polyscene/nn/gating.h"

#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"

namespace polyscene::nn {

GatingImpl::GatingImpl(int64_t input_size_, int64_t context_size_, GatingOptions options_)
    : input_size(input_size_), context_size(context_size_), options(std::move(options_)) {
  check_positive("Gating", "input_size", input_size);
  check_positive("Gating", "context_size", context_size);
  reset();
}

void GatingImpl::reset() {
  gate = register_module("gate",
                         torch::nn::Linear(torch::nn::LinearOptions(context_size, input_size).bias(options.bias())));
}

torch::Tensor GatingImpl::forward(const torch::Tensor& x, const torch::Tensor& context) {
  return attend(x, context).output;
}

Attended GatingImpl::attend(const torch::Tensor& x, const torch::Tensor& context) {
  check_width("Gating", "x", x, input_size);
  check_width("Gating", "context", context, context_size);
  TORCH_CHECK_VALUE(x.sizes().slice(0, x.dim() - 1) == context.sizes().slice(0, context.dim() - 1),
                    "Gating: x and context must agree but for their last dimension, got ", x.sizes(), " and ",
                    context.sizes());
  const auto gates = dense(context, *gate).softmax(-1);  // [..., D]
  return {gates * x, gates};
}

}  // namespace polyscene::nn
