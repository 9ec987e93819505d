#include "polyscene/nn/softmax_loss.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "polyscene/nn/gemm.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"
#include "polyscene/nn/vector_exp.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kLogits = int64_t{1} << 21;  // that are held at once
constexpr int64_t kLanes = 16;                 // sums side by side
constexpr int64_t kFewClasses = 1024;          // for fewer, a library would divide sums over many rows among threads

// Logits [C] of a row become softmax less the target's 1; returns the row's loss.
template <typename T>
POLYSCENE_INLINE double lose(T* z, int64_t classes, int64_t target) {
  T most[kLanes], sum[kLanes] = {};
  std::fill(most, most + kLanes, z[0]);
  const auto even = classes / kLanes * kLanes;
  for (int64_t c = 0; c < even; c += kLanes) {
#pragma GCC ivdep
    for (int64_t k = 0; k < kLanes; ++k) most[k] = z[c + k] > most[k] ? z[c + k] : most[k];
  }
  for (auto c = even; c < classes; ++c) most[0] = z[c] > most[0] ? z[c] : most[0];
  const T top = *std::max_element(most, most + kLanes);
  const double own = z[target];
  for (int64_t c = 0; c < even; c += kLanes) {
#pragma GCC ivdep
    for (int64_t k = 0; k < kLanes; ++k) {
      z[c + k] = vector_exp(z[c + k] - top);
      sum[k] += z[c + k];
    }
  }
  for (auto c = even; c < classes; ++c) sum[0] += z[c] = vector_exp(z[c] - top);
  double total = 0;
  for (const auto each : sum) total += each;
  const T share = static_cast<T>(1 / total);
#pragma GCC ivdep
  for (int64_t c = 0; c < classes; ++c) z[c] *= share;
  z[target] -= 1;
  return std::log(total) + static_cast<double>(top) - own;
}

POLYSCENE_SIMD double lose_of(float* z, int64_t classes, int64_t target) { return lose(z, classes, target); }
POLYSCENE_SIMD double lose_of(double* z, int64_t classes, int64_t target) { return lose(z, classes, target); }

// w[c] += sum_i z[i, c] x[i] for the classes from .. to, row by row.
template <typename T>
POLYSCENE_INLINE void add_rows(const T* z, const T* x, int64_t rows, int64_t classes, int64_t dim, int64_t from,
                               int64_t to, T* w) {
  for (int64_t i = 0; i < rows; ++i) {
    for (auto c = from; c < to; ++c) {
      const T one = z[i * classes + c];
#pragma GCC ivdep
      for (int64_t d = 0; d < dim; ++d) w[c * dim + d] += one * x[i * dim + d];
    }
  }
}

POLYSCENE_SIMD void add_of(const float* z, const float* x, int64_t rows, int64_t classes, int64_t dim, int64_t from,
                           int64_t to, float* w) {
  add_rows(z, x, rows, classes, dim, from, to, w);
}
POLYSCENE_SIMD void add_of(const double* z, const double* x, int64_t rows, int64_t classes, int64_t dim, int64_t from,
                           int64_t to, double* w) {
  add_rows(z, x, rows, classes, dim, from, to, w);
}

class SoftmaxLoss : public torch::autograd::Function<SoftmaxLoss> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor& w, const Tensor& target,
                        bool learns) {
    const auto rows = x.size(0), classes = w.size(0);
    const auto block = std::clamp<int64_t>(kLogits / std::max<int64_t>(classes, 1), 16, 4096);
    auto dx = torch::empty({learns ? rows : 0, x.size(1)}, x.options());
    auto dw = torch::zeros({learns ? classes : 0, x.size(1)}, x.options());
    auto logits = torch::empty({std::min(block, rows), classes}, x.options());
    std::vector<double> losses(rows);
    const auto* of = target.const_data_ptr<int64_t>();
    for (int64_t begin = 0; begin < rows; begin += block) {
      const auto count = std::min(block, rows - begin);
      const auto mine = x.narrow(0, begin, count), z = logits.narrow(0, 0, count);
      product(z, mine, w.t());
      AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "softmax_loss", [&] {
        auto* row = z.template data_ptr<scalar_t>();
        at::parallel_for(0, count, 4, [&](int64_t from, int64_t to) {
          for (auto i = from; i < to; ++i) losses[begin + i] = lose_of(row + i * classes, classes, of[begin + i]);
        });
      });
      if (!learns) continue;
      product(dx.narrow(0, begin, count), z, w);
      if (classes >= kFewClasses) {
        product(dw, z.t(), mine, /*add=*/true);
        continue;
      }
      AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "softmax_loss", [&] {
        const auto *shares = z.template const_data_ptr<scalar_t>(), *rows_of = mine.template const_data_ptr<scalar_t>();
        auto* sums = dw.template data_ptr<scalar_t>();
        at::parallel_for(0, classes, 16, [&](int64_t from, int64_t to) {
          add_of(shares, rows_of, count, classes, x.size(1), from, to, sums);
        });
      });
    }
    ctx->save_for_backward({dx, dw});
    double total = 0;
    for (const auto each : losses) total += each;
    return torch::full({}, total, x.options());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "softmax_loss: derivatives of higher order need a forward under PlainGuard");
    const auto saved = ctx->get_saved_variables();
    return {saved[0] * grads[0], saved[1] * grads[0], Tensor(), Tensor()};
  }
};

}  // namespace

Tensor softmax_loss(const Tensor& x, const Tensor& w, const Tensor& target) {
  TORCH_CHECK_VALUE(x.dim() == 2 && w.dim() == 2 && w.size(0) > 0 && x.size(1) == w.size(1),
                    "softmax_loss: x must be [n, D] and w [C, D], got ", x.sizes(), " and ", w.sizes());
  TORCH_CHECK_VALUE(target.dim() == 1 && target.numel() == x.size(0) && target.scalar_type() == torch::kInt64,
                    "softmax_loss: target must be int64 [", x.size(0), "], got ", target.sizes());
  if (x.size(0) == 0) return (x.sum() + w.sum()) * 0;
  const auto [low, high] = target.aminmax();
  TORCH_CHECK_INDEX(low.item<int64_t>() >= 0 && high.item<int64_t>() < w.size(0),
                    "softmax_loss: target must be in [0, ", w.size(0), "), got ", low.item<int64_t>(), " to ",
                    high.item<int64_t>());
  if (!plain({x, w})) return torch::cross_entropy_loss(x.mm(w.t()), target, {}, at::Reduction::Sum);
  const bool learns = torch::GradMode::is_enabled() && (x.requires_grad() || w.requires_grad());
  return SoftmaxLoss::apply(x.contiguous(), w.contiguous(), target.contiguous(), learns);
}

}  // namespace polyscene::nn
