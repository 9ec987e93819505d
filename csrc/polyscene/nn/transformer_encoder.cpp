#include "polyscene/nn/transformer_encoder.h"

#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"

namespace polyscene::nn {

TransformerBlockImpl::TransformerBlockImpl(TransformerEncoderOptions options_) : options(std::move(options_)) {
  check_positive("TransformerBlock", "hidden", options.hidden());
  TORCH_CHECK_VALUE(options.feedforward() >= 0, "TransformerBlock: feedforward must not be negative, got ",
                    options.feedforward());
  check_dropout("TransformerBlock", options.dropout());
  reset();
}

void TransformerBlockImpl::reset() {
  const auto width = options.hidden();
  const auto wide = options.feedforward() > 0 ? options.feedforward() : 4 * width;
  const auto norm_options = torch::nn::LayerNormOptions({width});
  attention_norm = register_module("attention_norm", torch::nn::LayerNorm(norm_options));
  attention = register_module(
      "attention",
      MultiHeadAttention(width,
                         MultiHeadAttentionOptions().heads(options.heads()).causal(true).dropout(options.dropout())));
  feedforward_norm = register_module("feedforward_norm", torch::nn::LayerNorm(norm_options));
  inner = register_module("inner", torch::nn::Linear(width, wide));
  outer = register_module("outer", torch::nn::Linear(wide, width));
}

torch::Tensor TransformerBlockImpl::forward(const torch::Tensor& h, const torch::Tensor& valid) {
  check_sequence("TransformerBlock", "h", h, options.hidden());
  const auto drop = [&](const torch::Tensor& x) { return torch::dropout(x, options.dropout(), is_training()); };
  const auto a = attention_norm->forward(h);                                                // [B, T, H]
  const auto attended = h + drop(attention->forward(a, a, a, valid));                       // [B, T, H]
  const auto wide = drop(torch::gelu(dense(feedforward_norm->forward(attended), *inner)));  // [B, T, 4H]
  return attended + drop(dense(wide, *outer));
}

TransformerEncoderImpl::TransformerEncoderImpl(int64_t input_size_, TransformerEncoderOptions options_)
    : input_size(input_size_), options(std::move(options_)) {
  check_positive("TransformerEncoder", "input_size", input_size);
  check_positive("TransformerEncoder", "hidden", options.hidden());
  check_positive("TransformerEncoder", "layers", options.layers());
  check_positive("TransformerEncoder", "max_length", options.max_length());
  reset();
}

void TransformerEncoderImpl::reset() {
  const auto width = options.hidden();
  input_projection = register_module("input_projection", torch::nn::Linear(input_size, width));
  positions = register_parameter("positions", torch::empty({options.max_length(), width}));
  torch::nn::init::normal_(positions, 0, 0.02);
  blocks = register_module("blocks", torch::nn::ModuleList());
  for (int64_t layer = 0; layer < options.layers(); ++layer) {
    blocks->push_back(TransformerBlock(options));
  }
  norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
}

torch::Tensor TransformerEncoderImpl::forward(const torch::Tensor& x, const torch::Tensor& valid) {
  check_sequence("TransformerEncoder", "x", x, input_size);
  const auto steps = x.size(1);
  TORCH_CHECK_VALUE(steps <= options.max_length(), "TransformerEncoder: sequences may have ", options.max_length(),
                    " steps, got ", steps, "; raise max_length or keep fewer events");
  auto h = dense(x, *input_projection) + positions.slice(0, 0, steps);  // [B, T, H]
  h = torch::dropout(h, options.dropout(), is_training());
  for (const auto& block : *blocks) {
    h = block->as<TransformerBlock>()->forward(h, valid);
  }
  return norm->forward(h);
}

}  // namespace polyscene::nn
