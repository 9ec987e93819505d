#include "polyscene/nn/unet.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "polyscene/core/errors.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/group_norm.h"

namespace polyscene::nn {
namespace {

constexpr const char* kUNet = "UNet";
constexpr double kOpen = 2;  // score of a gate at first: sigma(2) = 0.88
const std::vector<std::string> kUNetNorms = {"none", "batch", "group"};

torch::nn::ModuleList unet_block(int64_t from, int64_t to, const std::string& norm) {
  torch::nn::ModuleList block;
  for (const auto in : {from, to}) {
    torch::nn::Conv2d convolution(torch::nn::Conv2dOptions(in, to, 3).padding(1).bias(norm == "none"));
    torch::nn::init::kaiming_normal_(convolution->weight, 0, torch::kFanIn, torch::kReLU);
    block->push_back(std::move(convolution));
    if (norm == "batch") block->push_back(torch::nn::BatchNorm2d(to));
    if (norm == "group") block->push_back(group_norm(to));
  }
  return block;
}

// One value a channel has no variance: then the running statistics serve, and stay as they are.
torch::Tensor batch_normed(torch::nn::BatchNorm2dImpl& norm, const torch::Tensor& x) {
  if (x.numel() / x.size(1) > 1) return norm.forward(x);
  return torch::batch_norm(x, norm.weight, norm.bias, norm.running_mean, norm.running_var, /*training=*/false,
                           /*momentum=*/0, norm.options.eps(), /*cudnn_enabled=*/false);
}

torch::Tensor through_block(torch::nn::ModuleListImpl& block, torch::Tensor x) {
  const auto step = block.size() / 2;  // 2: each convolution has a norm behind it
  for (size_t at = 0; at < block.size(); at += step) {
    x = block.at<torch::nn::Conv2dImpl>(at).forward(x);
    if (step == 2) {
      auto* batch = block[at + 1]->as<torch::nn::BatchNorm2d>();
      x = batch != nullptr ? batch_normed(*batch, x) : block.at<torch::nn::GroupNormImpl>(at + 1).forward(x);
    }
    x = x.relu();
  }
  return x;
}

}  // namespace

UNetImpl::UNetImpl(int64_t input_size_, int64_t classes_, UNetOptions options_)
    : input_size(input_size_), classes(classes_), options(std::move(options_)) {
  check_positive(kUNet, "input_size", input_size);
  check_positive(kUNet, "classes", classes);
  check_positive(kUNet, "channels", options.channels());
  TORCH_CHECK_VALUE(options.depth() >= 1 && options.depth() <= 8, kUNet, ": depth must be 1 to 8, got ",
                    options.depth());
  TORCH_CHECK_VALUE(std::find(kUNetNorms.begin(), kUNetNorms.end(), options.norm()) != kUNetNorms.end(), kUNet,
                    ": norm must be one of ", join(kUNetNorms), ", got '", options.norm(), "'",
                    suggestion(options.norm(), kUNetNorms));
  check_dropout(kUNet, options.dropout());
  reset();
}

void UNetImpl::reset() {
  const auto list = [&](const char* name) { return register_module(name, torch::nn::ModuleList()); };
  const auto width = [&](int64_t level) { return options.channels() << level; };
  down = list("down"), up = list("up"), grow = list("grow");
  for (int64_t level = 0; level <= options.depth(); ++level) {
    down->push_back(unet_block(level == 0 ? input_size : width(level - 1), width(level), options.norm()));
  }
  for (int64_t level = 0; level < options.depth(); ++level) {
    torch::nn::ConvTranspose2d larger(torch::nn::ConvTranspose2dOptions(width(level + 1), width(level), 2).stride(2));
    // Each pixel hears one of the level below. torch's own start would leave it far weaker than what is beside it.
    torch::nn::init::normal_(larger->weight, 0, std::sqrt(2.0 / static_cast<double>(width(level + 1))));
    torch::nn::init::zeros_(larger->bias);
    grow->push_back(std::move(larger));
    up->push_back(unet_block(2 * width(level), width(level), options.norm()));
  }
  if (options.attention()) {
    skip_gates = list("skip_gates"), up_gates = list("up_gates"), gate_scores = list("gate_scores");
    for (int64_t level = 1; level < options.depth(); ++level) {
      const auto inner = width(level);
      skip_gates->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(width(level), inner, 2).stride(2).bias(false)));
      up_gates->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(width(level + 1), inner, 1)));
      gate_scores->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(inner, 1, 1)));
      torch::nn::init::constant_(gate_scores->at<torch::nn::Conv2dImpl>(level - 1).bias, kOpen);
    }
  }
  output = register_module("output", torch::nn::Conv2d(torch::nn::Conv2dOptions(options.channels(), classes, 1)));
}

torch::Tensor UNetImpl::run(const torch::Tensor& x, std::vector<torch::Tensor>* gates) {
  TORCH_CHECK_VALUE(x.dim() == 4 && x.size(1) == input_size && x.size(2) > 0 && x.size(3) > 0, kUNet,
                    ": x must be [B, ", input_size, ", H, W], got ", x.sizes());
  const auto height = x.size(2), width = x.size(3), depth = options.depth();
  const auto unit = int64_t{1} << depth;
  const auto missing = [&](int64_t size) { return (unit - size % unit) % unit; };
  auto h = torch::constant_pad_nd(x, {0, missing(width), 0, missing(height)});
  std::vector<torch::Tensor> levels;
  for (int64_t level = 0; level <= depth; ++level) {
    if (level > 0) h = torch::max_pool2d(h, 2);
    h = through_block(down->at<torch::nn::ModuleListImpl>(level), h);  // [B, channels 2^l, H / 2^l, W / 2^l]
    levels.push_back(h);
  }
  h = torch::feature_dropout(h, options.dropout(), is_training());
  if (gates != nullptr && options.attention()) gates->resize(static_cast<size_t>(depth - 1));
  for (int64_t level = depth - 1; level >= 0; --level) {
    auto skip = levels[level];
    if (options.attention() && level > 0) {
      const auto from_skip = skip_gates[level - 1]->as<torch::nn::Conv2d>()->forward(skip);
      const auto from_up = up_gates[level - 1]->as<torch::nn::Conv2d>()->forward(h);
      const auto score = gate_scores[level - 1]->as<torch::nn::Conv2d>()->forward((from_skip + from_up).relu());
      const auto gate = torch::upsample_bilinear2d(score.sigmoid(), {skip.size(2), skip.size(3)},
                                                   /*align_corners=*/false);  // [B, 1, H / 2^l, W / 2^l]
      const auto whole = [&](int64_t size) { return (size + (int64_t{1} << level) - 1) >> level; };
      if (gates != nullptr) {
        (*gates)[level - 1] = gate.squeeze(1).slice(1, 0, whole(height)).slice(2, 0, whole(width));
      }
      skip = skip * gate;
    }
    const auto larger = grow[level]->as<torch::nn::ConvTranspose2d>()->forward(h);
    h = through_block(up->at<torch::nn::ModuleListImpl>(level), torch::cat({skip, larger}, 1));
  }
  return output->forward(h.slice(2, 0, height).slice(3, 0, width));  // [B, K, H, W]
}

torch::Tensor UNetImpl::forward(const torch::Tensor& x) { return run(x, nullptr); }

std::vector<torch::Tensor> UNetImpl::gates(const torch::Tensor& x) {
  std::vector<torch::Tensor> out;
  run(x, &out);
  return out;
}

}  // namespace polyscene::nn
