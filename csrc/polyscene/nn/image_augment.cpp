#include "polyscene/nn/image_augment.h"

#include <cmath>
#include <utility>

namespace polyscene::nn {
namespace {

constexpr int64_t kDraws = 10;  // x, y of the shift; angle; size; size, x, y of the crop; mirror; brightness; contrast

void check_amount(const char* name, double value, bool inside, const char* range) {
  TORCH_CHECK_VALUE(std::isfinite(value) && value >= 0 && inside, "ImageAugment: ", name, " must be ", range, ", got ",
                    value);
}

}  // namespace

ImageAugmentImpl::ImageAugmentImpl(ImageAugmentOptions options_) : options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.shift() >= 0, "ImageAugment: shift must be 0 or more, got ", options.shift());
  check_amount("rotate", options.rotate(), options.rotate() <= 180, "in [0, 180]");
  check_amount("scale", options.scale(), true, "0 or more");
  check_amount("crop", options.crop(), options.crop() < 1, "in [0, 1)");
  check_amount("flip", options.flip(), options.flip() <= 1, "in [0, 1]");
  check_amount("brightness", options.brightness(), true, "0 or more");
  check_amount("contrast", options.contrast(), options.contrast() <= 1, "in [0, 1]");
}

torch::Tensor ImageAugmentImpl::moved(const torch::Tensor& x, const torch::Tensor& u) const {
  const auto height = static_cast<double>(x.size(2)), width = static_cast<double>(x.size(3));
  const auto share = [&](int64_t draw) { return u.select(1, draw); };  // [B], in [0, 1)
  const auto either = [&](int64_t draw) { return share(draw) * 2 - 1; };
  const auto steps = [&](int64_t draw) {
    return (share(draw) * static_cast<double>(2 * options.shift() + 1)).floor() - static_cast<double>(options.shift());
  };
  const auto dx = steps(0), dy = steps(1);
  const auto angle = either(2) * (options.rotate() * M_PI / 180);
  const auto kept = 1 - share(4) * options.crop();
  const auto factor = kept * (either(3) * -std::log1p(options.scale())).exp();  // c / z
  const auto ox = (1 - kept) * either(5) * (width / 2), oy = (1 - kept) * either(6) * (height / 2);
  const auto cos = angle.cos() * factor, sin = angle.sin() * factor;
  // From pixels to the coordinates of grid_sample, in which an image reaches from -1 to 1 along both axes.
  const auto first = torch::stack({cos, -sin * (height / width), (ox - cos * dx + sin * dy) * (2 / width)}, 1);
  const auto second = torch::stack({sin * (width / height), cos, (oy - sin * dx - cos * dy) * (2 / height)}, 1);
  const auto theta = torch::stack({first, second}, 1).to(x.options());  // [B, 2, 3]
  const auto grid = torch::affine_grid_generator(theta, x.sizes(), /*align_corners=*/false);
  return torch::grid_sampler(x, grid, /*interpolation_mode=*/0, /*padding_mode=*/0, /*align_corners=*/false);
}

torch::Tensor ImageAugmentImpl::forward(const torch::Tensor& x) {
  TORCH_CHECK_VALUE(x.dim() == 4, "ImageAugment: x must be [B, C, h, w], got ", x.sizes());
  if (!is_training() || !any() || x.numel() == 0) return x;
  const auto u = torch::rand({x.size(0), kDraws}, torch::kFloat64);
  auto out = moves() ? moved(x, u) : x;
  const auto column = [&](int64_t draw) { return u.select(1, draw).view({-1, 1, 1, 1}); };
  if (options.flip() > 0) {
    out = torch::where(column(7).lt(options.flip()).to(x.device()), out.flip({3}), out);
  }
  if (!colours()) return out;
  const auto added = ((column(8) * 2 - 1) * options.brightness()).to(x.options());
  const auto stretched = ((column(9) * 2 - 1) * options.contrast() + 1).to(x.options());
  const auto mean = out.mean({1, 2, 3}, /*keepdim=*/true);
  return ((out - mean) * stretched + mean + added).clamp(0, 1);
}

}  // namespace polyscene::nn
