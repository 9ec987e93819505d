#include "polyscene/nn/field_attention.h"

#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/norm_activation.h"
#include "polyscene/nn/row_attention.h"

namespace polyscene::nn {

FieldAttentionImpl::FieldAttentionImpl(int64_t size_, FieldAttentionOptions options_)
    : size(size_), options(std::move(options_)) {
  check_positive("FieldAttention", "heads", options.heads());
  check_positive("FieldAttention", "feedforward", options.feedforward());
  check_dropout("FieldAttention", options.dropout());
  TORCH_CHECK_VALUE(size % options.heads() == 0, "FieldAttention: heads must divide the width, got ", options.heads(),
                    " heads and width ", size);
  reset();
}

void FieldAttentionImpl::reset() {
  const auto norm = torch::nn::LayerNormOptions({size});
  attention_norm = register_module("attention_norm", torch::nn::LayerNorm(norm));
  projection = register_module("projection", torch::nn::Linear(size, 3 * size));
  output = register_module("output", torch::nn::Linear(size, size));
  feedforward_norm = register_module("feedforward_norm", torch::nn::LayerNorm(norm));
  inner = register_module("inner", torch::nn::Linear(size, options.feedforward()));
  outer = register_module("outer", torch::nn::Linear(options.feedforward(), size));
}

torch::Tensor FieldAttentionImpl::forward(const torch::Tensor& h) {
  check_sequence("FieldAttention", "h", h, size);
  const auto drop = [&](const torch::Tensor& x) { return nn::drop(x, options.dropout(), is_training()); };
  const auto qkv = dense(attention_norm->forward(h), *projection);  // [B, F, 3 D]
  const auto met = row_attention(qkv, options.heads()).flatten(0, 1);
  const auto seen = h + drop(dense(met, *output).view(h.sizes()));  // [B, F, D]
  const auto rows = feedforward_norm->forward(seen).flatten(0, 1);  // [B F, D]
  const auto wide = norm_activation(dense(rows, inner->weight), inner->bias.unsqueeze(0), {}, "relu", is_training(),
                                    SceneGroups::all(rows.size(0)));
  return seen + drop(dense(drop(wide), *outer).view(h.sizes()));
}

}  // namespace polyscene::nn
