#include "polyscene/nn/dropout.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include "polyscene/nn/drop_places.h"
#include "polyscene/nn/plain.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kShare = 1 << 15;  // elements a task

template <typename T>
POLYSCENE_INLINE void keep(const T* x, T* y, int64_t count, const DropPiece& piece, T scale) {
  const auto [one, other, from, below] = piece;
#pragma GCC ivdep
  for (uint32_t i = 0; i < static_cast<uint32_t>(count); ++i) {
    y[i] = mixed(from + i, one, other) < below ? T(0) : x[i] * scale;
  }
}

POLYSCENE_SIMD void keep_of(const float* x, float* y, int64_t count, const DropPiece& piece, float scale) {
  keep(x, y, count, piece, scale);
}

POLYSCENE_SIMD void keep_of(const double* x, double* y, int64_t count, const DropPiece& piece, double scale) {
  keep(x, y, count, piece, scale);
}

Tensor kept(const Tensor& x, double p, uint64_t seed) {
  auto y = torch::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "dropout", [&] {
    const auto* from = x.const_data_ptr<scalar_t>();
    auto* to = y.data_ptr<scalar_t>();
    const auto pieces = (x.numel() + kShare - 1) / kShare;
    at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t first = piece * kShare;
        keep_of(from + first, to + first, std::min(kShare, x.numel() - first), DropPiece(seed, first, p),
                static_cast<scalar_t>(1 / (1 - p)));
      }
    });
  });
  return y;
}

class Dropout : public torch::autograd::Function<Dropout> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, double p, int64_t seed) {
    ctx->saved_data["p"] = p;
    ctx->saved_data["seed"] = seed;
    return kept(x, p, static_cast<uint64_t>(seed));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "dropout: derivatives of higher order need a forward under PlainGuard");
    const auto seed = static_cast<uint64_t>(ctx->saved_data["seed"].toInt());
    return {kept(grads[0].contiguous(), ctx->saved_data["p"].toDouble(), seed), Tensor(), Tensor()};
  }
};

}  // namespace

int64_t draw_drop_seed() {
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return static_cast<int64_t>(at::check_generator<at::CPUGeneratorImpl>(generator)->random64());
}

Tensor drop(const Tensor& x, double p, bool training) {
  TORCH_CHECK_VALUE(p >= 0 && p < 1, "drop: p must lie in [0, 1), got ", p);
  if (!training || p == 0) return x;
  if (!plain({x})) return torch::dropout(x, p, true);
  return Dropout::apply(x.contiguous(), p, draw_drop_seed());
}

}  // namespace polyscene::nn
