#include "polyscene/nn/field_attention.h"

#include <utility>

#include "polyscene/nn/checks.h"

namespace polyscene::nn {

FieldAttentionImpl::FieldAttentionImpl(int64_t size_, FieldAttentionOptions options_)
    : size(size_), options(std::move(options_)) {
  check_positive("FieldAttention", "feedforward", options.feedforward());
  reset();
}

void FieldAttentionImpl::reset() {
  const auto norm = torch::nn::LayerNormOptions({size});
  attention_norm = register_module("attention_norm", torch::nn::LayerNorm(norm));
  attention = register_module(
      "attention",
      MultiHeadAttention(size, MultiHeadAttentionOptions().heads(options.heads()).dropout(options.dropout())));
  feedforward_norm = register_module("feedforward_norm", torch::nn::LayerNorm(norm));
  inner = register_module("inner", torch::nn::Linear(size, options.feedforward()));
  outer = register_module("outer", torch::nn::Linear(options.feedforward(), size));
}

torch::Tensor FieldAttentionImpl::forward(const torch::Tensor& h) {
  check_sequence("FieldAttention", "h", h, size);
  const auto drop = [&](const torch::Tensor& x) {
    return options.dropout() > 0 ? torch::dropout(x, options.dropout(), is_training()) : x;
  };
  const auto normal = attention_norm->forward(h);
  const auto attended = h + drop(attention->forward(normal, normal, normal));          // [B, F, D]
  const auto wide = drop(inner->forward(feedforward_norm->forward(attended)).relu());  // [B, F, feedforward]
  return attended + drop(outer->forward(wide));
}

}  // namespace polyscene::nn
