#include "polyscene/nn/image_encoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "polyscene/core/errors.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/group_norm.h"

namespace polyscene::nn {
namespace {

constexpr const char* kImage = "ImageEncoder";

void check_image_choice(const char* option, const std::string& given, const std::vector<std::string>& known) {
  TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), given) != known.end(), kImage, ": ", option,
                    " must be one of ", join(known), ", got '", given, "'", suggestion(given, known));
}

}  // namespace

ImageEncoderImpl::ImageEncoderImpl(int64_t channels_, ImageEncoderOptions options_)
    : channels(channels_), options(std::move(options_)) {
  check_positive(kImage, "channels", channels);
  check_positive(kImage, "layers", options.layers());
  check_dropout(kImage, options.dropout());
  check_image_choice("kind", options.kind(), {"cnn", "resnet"});
  check_image_choice("norm", options.norm(), {"group", "batch", "none"});
  check_image_choice("pool", options.pool(), {"attention", "mean"});
  TORCH_CHECK_VALUE(!options.widths().empty(), kImage, ": widths must name at least one width, got []");
  for (const auto width : options.widths()) check_positive(kImage, "widths", width);
  TORCH_CHECK_VALUE(options.kernel() > 0 && options.kernel() % 2 == 1, kImage, ": kernel must be odd, got ",
                    options.kernel());
  reset();
}

void ImageEncoderImpl::add(int64_t from, int64_t to, int64_t kernel, int64_t step) {
  torch::nn::Conv2d layer(torch::nn::Conv2dOptions(from, to, kernel).padding(kernel / 2).stride(step));
  torch::nn::init::kaiming_normal_(layer->weight, 0, torch::kFanOut, torch::kReLU);
  torch::nn::init::zeros_(layer->bias);
  convolutions->push_back(layer);
  if (options.norm() == "batch") norms->push_back(torch::nn::BatchNorm2d(to));
  if (options.norm() == "group") norms->push_back(group_norm(to));
}

void ImageEncoderImpl::reset() {
  convolutions = register_module("convolutions", torch::nn::ModuleList());
  norms = register_module("norms", torch::nn::ModuleList());
  const auto kernel = options.kernel();
  auto from = channels;
  if (options.kind() == "resnet")
    add(std::exchange(from, options.widths().front()), options.widths().front(), kernel, 1);
  for (size_t stage = 0; stage < options.widths().size(); ++stage) {
    const auto to = options.widths()[stage];
    for (int64_t layer = 0; layer < options.layers(); ++layer) {
      const int64_t step = options.kind() == "resnet" && stage > 0 && layer == 0 ? 2 : 1;
      add(from, to, kernel, step);
      if (options.kind() == "resnet") {
        add(to, to, kernel, 1);
        if (step > 1) add(from, to, 1, step);
      }
      from = to;
    }
  }
  if (options.pool() == "mean") return;
  position = register_module("position", torch::nn::Linear(from, from));
  context = register_parameter("context", torch::empty({from}));
  const auto bound = 1 / std::sqrt(static_cast<double>(from));
  torch::nn::init::uniform_(context, -bound, bound);
}

torch::Tensor ImageEncoderImpl::convolved(size_t index, const torch::Tensor& x) {
  const auto h = convolutions->at<torch::nn::Conv2dImpl>(index).forward(x);
  if (options.norm() == "batch") return norms->at<torch::nn::BatchNorm2dImpl>(index).forward(h);
  return options.norm() == "group" ? norms->at<torch::nn::GroupNormImpl>(index).forward(h) : h;
}

torch::Tensor ImageEncoderImpl::map(const torch::Tensor& x) {
  TORCH_CHECK_VALUE(x.dim() == 4 && x.size(1) == channels && x.size(2) > 0 && x.size(3) > 0, kImage, ": x must be [B, ",
                    channels, ", h, w], got ", x.sizes());
  size_t next = 0;
  auto h = x;
  if (options.kind() == "resnet") h = convolved(next++, h).relu();
  for (size_t stage = 0; stage < options.widths().size(); ++stage) {
    if (options.kind() == "cnn" && stage > 0) {
      h = torch::max_pool2d(h, {std::min<int64_t>(2, h.size(2)), std::min<int64_t>(2, h.size(3))});
    }
    for (int64_t layer = 0; layer < options.layers(); ++layer) {
      if (options.kind() == "cnn") {
        h = convolved(next++, h).relu();
        continue;
      }
      const auto first = convolved(next++, h).relu();
      const auto second = convolved(next++, first);
      const bool shrinks = stage > 0 && layer == 0;
      h = (second + (shrinks ? convolved(next++, h) : h)).relu();
    }
  }
  return drop(h, options.dropout(), is_training());
}

torch::Tensor ImageEncoderImpl::forward(const torch::Tensor& x) { return attend(x).output; }

Attended ImageEncoderImpl::attend(const torch::Tensor& x) {
  if (x.dim() == 4 && x.size(0) == 0 && x.size(1) == channels) {
    const bool pools = options.kind() == "cnn";  // each later stage halves a side, down or up
    const auto side = [&](int64_t size) {
      for (size_t stage = 1; stage < options.widths().size(); ++stage) {
        size = pools ? std::max<int64_t>(size / 2, 1) : (size + 1) / 2;
      }
      return size;
    };
    return {x.new_zeros({0, output_size()}), x.new_zeros({0, side(x.size(2)), side(x.size(3))})};
  }
  const auto h = map(x);
  const auto rows = h.size(0), width = h.size(1), places = h.size(2) * h.size(3);
  const auto states = h.flatten(2).transpose(1, 2);  // [B, P, H]
  torch::Tensor weights;                             // [B, P]
  if (options.pool() == "mean") {
    weights = x.new_full({rows, places}, 1.0 / static_cast<double>(places));
  } else {
    const auto flat = states.reshape({rows * places, width});
    const auto keys = dense(flat, *position).tanh();
    weights = dense(keys, context.unsqueeze(0)).view({rows, places}).softmax(1);
  }
  return {weights.unsqueeze(1).bmm(states).squeeze(1), weights.view({rows, h.size(2), h.size(3)})};
}

}  // namespace polyscene::nn
