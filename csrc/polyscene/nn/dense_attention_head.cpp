#include "polyscene/nn/dense_attention_head.h"

#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"

namespace polyscene::nn {

DenseAttentionHeadImpl::DenseAttentionHeadImpl(int64_t input_size_, DenseAttentionHeadOptions options_)
    : input_size(input_size_), options(std::move(options_)) {
  check_positive("DenseAttentionHead", "input_size", input_size);
  check_positive("DenseAttentionHead", "hidden", options.hidden());
  check_positive("DenseAttentionHead", "outputs", options.outputs());
  check_dropout("DenseAttentionHead", options.dropout());
  reset();
}

void DenseAttentionHeadImpl::reset() {
  const auto width = options.hidden();
  dense = register_module("dense", torch::nn::Linear(input_size, width));
  if (options.attention()) {
    attention = register_module("attention", Gating(width, width));
  }
  output = register_module("output", torch::nn::Linear(options.attention() ? 2 * width : width, options.outputs()));
}

torch::Tensor DenseAttentionHeadImpl::forward(const torch::Tensor& x) { return attend(x).output; }

Attended DenseAttentionHeadImpl::attend(const torch::Tensor& x) {
  check_width("DenseAttentionHead", "x", x, input_size);
  const auto d = torch::dropout(nn::dense(x, *dense).relu(), options.dropout(), is_training());  // [..., H]
  if (attention.is_empty()) {
    return {nn::dense(d, *output), torch::full_like(d, 1.0 / static_cast<double>(options.hidden()))};
  }
  const auto gated = attention->attend(d, d);                                     // [..., H]
  return {nn::dense(torch::cat({d, gated.output}, -1), *output), gated.weights};  // [..., C]
}

}  // namespace polyscene::nn
