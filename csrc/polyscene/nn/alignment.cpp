#include "polyscene/nn/alignment.h"

#include <cmath>

#include "polyscene/core/errors.h"

namespace polyscene::nn {
namespace {

class ReverseGradient : public torch::autograd::Function<ReverseGradient> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* ctx, const torch::Tensor& x, double strength) {
    ctx->saved_data["strength"] = strength;
    return x.view_as(x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& gradient) {
    return {gradient[0] * -ctx->saved_data["strength"].toDouble(), torch::Tensor()};
  }
};

void check_samples(const char* owner, const torch::Tensor& x, const torch::Tensor& y) {
  TORCH_CHECK_VALUE(x.dim() == 2 && y.dim() == 2 && x.size(1) == y.size(1) && x.size(0) > 1 && y.size(0) > 1, owner,
                    ": samples must be [n, H] and [m, H] with at least two rows each, got ", x.sizes(), " and ",
                    y.sizes());
}

// ||a||^2 + ||b||^2 - 2 a . b, which a difference of equal rows may make a little negative.
torch::Tensor squared_distances(const torch::Tensor& a, const torch::Tensor& b) {
  const auto both = a.square().sum(1).unsqueeze(1) + b.square().sum(1).unsqueeze(0);
  return (both - 2 * a.mm(b.t())).clamp_min(0);  // [n, m]
}

torch::Tensor covariance(const torch::Tensor& x) {
  const auto centred = x - x.mean(0, /*keepdim=*/true);
  return centred.t().mm(centred) / static_cast<double>(x.size(0) - 1);
}

}  // namespace

torch::Tensor reverse_gradient(const torch::Tensor& x, double strength) { return ReverseGradient::apply(x, strength); }

double reversal_strength(double progress, double gamma) { return 2 / (1 + std::exp(-gamma * progress)) - 1; }

torch::Tensor mmd(const torch::Tensor& x, const torch::Tensor& y, const std::vector<double>& scales, double bandwidth) {
  check_samples("mmd", x, y);
  TORCH_CHECK_VALUE(!scales.empty() && bandwidth >= 0, "mmd: there must be a scale, and bandwidth must be 0 or more");
  const auto n = x.size(0), m = y.size(0);
  const auto xx = squared_distances(x, x), yy = squared_distances(y, y), xy = squared_distances(x, y);
  auto s2 = torch::full({}, bandwidth, x.options().requires_grad(false));
  if (bandwidth == 0) {
    const auto pairs = static_cast<double>((n + m) * (n + m - 1));
    s2 = ((xx.detach().sum() + yy.detach().sum() + 2 * xy.detach().sum()) / pairs).clamp_min(1e-12);
  }
  auto out = torch::zeros({}, x.options());
  for (const auto scale : scales) {
    const auto kernel = [&](const torch::Tensor& d) { return (d / (-2 * scale * s2)).exp(); };
    const auto others = [&](const torch::Tensor& d, int64_t rows) {  // pairs of different rows
      const auto k = kernel(d);
      return (k.sum() - k.diagonal().sum()) / static_cast<double>(rows * (rows - 1));
    };
    out = out + others(xx, n) + others(yy, m) - 2 * kernel(xy).mean();
  }
  return out;
}

torch::Tensor coral(const torch::Tensor& x, const torch::Tensor& y) {
  check_samples("coral", x, y);
  const auto width = static_cast<double>(x.size(1));
  return (covariance(x) - covariance(y)).square().sum() / (4 * width * width);
}

torch::Tensor distillation(const torch::Tensor& student, const torch::Tensor& teacher, double temperature) {
  TORCH_CHECK_VALUE(student.sizes() == teacher.sizes() && (student.dim() == 1 || student.dim() == 2),
                    "distillation: student and teacher must be [B] or [B, C] each, got ", student.sizes(), " and ",
                    teacher.sizes());
  TORCH_CHECK_VALUE(temperature > 0, "distillation: temperature must be positive, got ", temperature);
  const auto soft = student / temperature, target = teacher.detach();
  const auto square = temperature * temperature;
  if (student.dim() == 1) {
    return square * torch::binary_cross_entropy_with_logits(soft, target, {}, {}, at::Reduction::None);
  }
  return square * (torch::xlogy(target, target) - target * soft.log_softmax(1)).sum(1);
}

}  // namespace polyscene::nn
