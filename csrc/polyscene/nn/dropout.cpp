#include "polyscene/nn/dropout.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kShare = 1 << 15;  // elements a task

// A number of [0, 2^32) for a place: multiplications and shifts that mix all bits, as hash functions end with them.
POLYSCENE_INLINE uint32_t mixed(uint32_t place, uint32_t one, uint32_t other) {
  uint32_t h = (place ^ one) * 0x9e3779b1u;
  h = ((h ^ (h >> 15)) + other) * 0x85ebca77u;
  h = (h ^ (h >> 13)) * 0xc2b2ae3du;
  return h ^ (h >> 16);
}

template <typename T>
POLYSCENE_INLINE void keep(const T* x, T* y, int64_t first, int64_t count, uint64_t seed, uint32_t below, T scale) {
  // Places past 2^32 take another seed.
  const auto one = static_cast<uint32_t>(seed), other = static_cast<uint32_t>((seed >> 32) + (first >> 32));
  const auto from = static_cast<uint32_t>(first);
#pragma GCC ivdep
  for (uint32_t i = 0; i < static_cast<uint32_t>(count); ++i) {
    y[i] = mixed(from + i, one, other) < below ? T(0) : x[i] * scale;
  }
}

POLYSCENE_SIMD void keep_of(const float* x, float* y, int64_t first, int64_t count, uint64_t seed, uint32_t below,
                            float scale) {
  keep(x, y, first, count, seed, below, scale);
}

POLYSCENE_SIMD void keep_of(const double* x, double* y, int64_t first, int64_t count, uint64_t seed, uint32_t below,
                            double scale) {
  keep(x, y, first, count, seed, below, scale);
}

Tensor kept(const Tensor& x, double p, uint64_t seed) {
  auto y = torch::empty_like(x);
  const auto below = static_cast<uint32_t>(p * 4294967296.0);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "dropout", [&] {
    const auto* from = x.const_data_ptr<scalar_t>();
    auto* to = y.data_ptr<scalar_t>();
    const auto pieces = (x.numel() + kShare - 1) / kShare;
    at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t first = piece * kShare;
        keep_of(from + first, to + first, first, std::min(kShare, x.numel() - first), seed, below,
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

int64_t draw_seed() {
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return static_cast<int64_t>(at::check_generator<at::CPUGeneratorImpl>(generator)->random64());
}

}  // namespace

Tensor drop(const Tensor& x, double p, bool training) {
  TORCH_CHECK_VALUE(p >= 0 && p < 1, "drop: p must lie in [0, 1), got ", p);
  if (!training || p == 0) return x;
  if (!plain({x})) return torch::dropout(x, p, true);
  return Dropout::apply(x.contiguous(), p, draw_seed());
}

}  // namespace polyscene::nn
