#include "polyscene/nn/conv_encoder.h"

#include <utility>

#include "polyscene/nn/checks.h"

namespace polyscene::nn {

ConvEncoderImpl::ConvEncoderImpl(int64_t input_size_, ConvEncoderOptions options_)
    : input_size(input_size_), options(std::move(options_)) {
  check_positive("ConvEncoder", "input_size", input_size);
  check_positive("ConvEncoder", "hidden", options.hidden());
  check_positive("ConvEncoder", "layers", options.layers());
  check_positive("ConvEncoder", "kernel", options.kernel());
  check_dropout("ConvEncoder", options.dropout());
  TORCH_CHECK_VALUE(options.layers() <= 20, "ConvEncoder: layers must be 20 at most, got ", options.layers(),
                    "; the reach doubles with each");
  reset();
}

void ConvEncoderImpl::reset() {
  convolutions = register_module("convolutions", torch::nn::ModuleList());
  auto width = input_size;
  for (int64_t layer = 0; layer < options.layers(); ++layer) {
    convolutions->push_back(torch::nn::Conv1d(
        torch::nn::Conv1dOptions(width, options.hidden(), options.kernel()).dilation(int64_t{1} << layer)));
    width = options.hidden();
  }
}

torch::Tensor ConvEncoderImpl::forward(const torch::Tensor& x) {
  check_sequence("ConvEncoder", "x", x, input_size);
  auto h = x.transpose(1, 2);  // [B, D, T]
  for (size_t layer = 0; layer < convolutions->size(); ++layer) {
    const auto reach = (options.kernel() - 1) * (int64_t{1} << layer);
    const auto past = torch::constant_pad_nd(h, {reach, 0});                               // [B, H, reach + T]
    const auto next = convolutions[layer]->as<torch::nn::Conv1d>()->forward(past).relu();  // [B, H, T]
    h = torch::dropout(layer == 0 ? next : h + next, options.dropout(), is_training());
  }
  return h.transpose(1, 2);  // [B, T, H]
}

}  // namespace polyscene::nn
