#include "polyscene/nn/prune.h"

#include <ATen/Parallel.h>

#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kGrain = 16384;  // floats a task

template <bool binary, typename T>
POLYSCENE_INLINE void forward_rows(const T* h, const T* s, T* out, T* kept, T scale, T threshold, int64_t rows,
                                   int64_t width) {
  for (int64_t b = 0; b < rows; ++b, h += width, s += width, out += width) {
    T count = 0;
#pragma GCC ivdep
    for (int64_t n = 0; n < width; ++n) {
      const T v = scale * s[n];
      const T step = v > threshold ? T(1) : T(0);
      out[n] = (binary ? step : v * step) * h[n];
      count += step;
    }
    kept[b] = count / static_cast<T>(width);
  }
}

// ds: through pi, and `through`, what reaches every factor straight from `kept`.
template <bool binary, typename T>
POLYSCENE_INLINE void backward_rows(const T* g, const T* g_kept, const T* h, const T* s, T* dh, T* ds, T scale,
                                    T threshold, int64_t rows, int64_t width) {
  for (int64_t b = 0; b < rows; ++b, g += width, h += width, s += width, dh += width, ds += width) {
    const T through = g_kept[b] * scale / static_cast<T>(width);
#pragma GCC ivdep
    for (int64_t n = 0; n < width; ++n) {
      const T v = scale * s[n];
      const T step = v > threshold ? T(1) : T(0);
      dh[n] = (binary ? step : v * step) * g[n];
      ds[n] = (binary ? T(1) : step) * scale * g[n] * h[n] + through;
    }
  }
}

#define POLYSCENE_PRUNE_KERNELS(T)                                                                                \
  POLYSCENE_SIMD void forward_of(bool binary, const T* h, const T* s, T* out, T* kept, T scale, T threshold,      \
                                 int64_t rows, int64_t width) {                                                   \
    if (binary) return forward_rows<true>(h, s, out, kept, scale, threshold, rows, width);                        \
    forward_rows<false>(h, s, out, kept, scale, threshold, rows, width);                                          \
  }                                                                                                               \
  POLYSCENE_SIMD void backward_of(bool binary, const T* g, const T* g_kept, const T* h, const T* s, T* dh, T* ds, \
                                  T scale, T threshold, int64_t rows, int64_t width) {                            \
    if (binary) return backward_rows<true>(g, g_kept, h, s, dh, ds, scale, threshold, rows, width);               \
    backward_rows<false>(g, g_kept, h, s, dh, ds, scale, threshold, rows, width);                                 \
  }

POLYSCENE_PRUNE_KERNELS(float)
POLYSCENE_PRUNE_KERNELS(double)
#undef POLYSCENE_PRUNE_KERNELS

class Prune : public torch::autograd::Function<Prune> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx, const Tensor& h, const Tensor& s,
                                                double scale, double threshold, bool binary) {
    const auto rows = h.size(0), width = h.size(1);
    auto out = torch::empty_like(h), kept = torch::empty({rows}, h.options());
    AT_DISPATCH_FLOATING_TYPES(h.scalar_type(), "prune", [&] {
      const auto *from = h.const_data_ptr<scalar_t>(), *by = s.const_data_ptr<scalar_t>();
      auto *to = out.data_ptr<scalar_t>(), *share = kept.data_ptr<scalar_t>();
      at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / width), [&](int64_t begin, int64_t end) {
        const auto at = begin * width;
        forward_of(binary, from + at, by + at, to + at, share + begin, static_cast<scalar_t>(scale),
                   static_cast<scalar_t>(threshold), end - begin, width);
      });
    });
    ctx->save_for_backward({h, s});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["threshold"] = threshold;
    ctx->saved_data["binary"] = binary;
    return {out, kept};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "prune: derivatives of higher order need a forward under PlainGuard");
    const auto saved = ctx->get_saved_variables();
    const auto &h = saved[0], &s = saved[1];
    const auto rows = h.size(0), width = h.size(1);
    const auto grad = grads[0].contiguous(), grad_kept = grads[1].contiguous();
    const double scale = ctx->saved_data["scale"].toDouble(), threshold = ctx->saved_data["threshold"].toDouble();
    const bool binary = ctx->saved_data["binary"].toBool();
    auto dh = torch::empty_like(h), ds = torch::empty_like(s);
    AT_DISPATCH_FLOATING_TYPES(h.scalar_type(), "prune_backward", [&] {
      const auto *g = grad.const_data_ptr<scalar_t>(), *g_kept = grad_kept.const_data_ptr<scalar_t>(),
                 *from = h.const_data_ptr<scalar_t>(), *by = s.const_data_ptr<scalar_t>();
      auto *to_h = dh.data_ptr<scalar_t>(), *to_s = ds.data_ptr<scalar_t>();
      at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / width), [&](int64_t begin, int64_t end) {
        const auto at = begin * width;
        backward_of(binary, g + at, g_kept + begin, from + at, by + at, to_h + at, to_s + at,
                    static_cast<scalar_t>(scale), static_cast<scalar_t>(threshold), end - begin, width);
      });
    });
    return {dh, ds, Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Pruned prune(const Tensor& h, const Tensor& s, double scale, double threshold, bool binary) {
  TORCH_CHECK_VALUE(h.dim() == 2 && h.size(1) > 0 && s.sizes() == h.sizes(),
                    "prune: h and s must be [B, N] alike, got ", h.sizes(), " and ", s.sizes());
  if (plain({h, s})) {
    const auto both = Prune::apply(h.contiguous(), s.contiguous(), scale, threshold, binary);
    return {both[0], both[1]};
  }
  const auto v = scale * s;
  const auto step = (v > threshold).to(v.scalar_type()) + (v - v.detach());
  return {(binary ? step : v * (v > threshold).to(v.scalar_type())) * h, step.mean(1)};
}

}  // namespace polyscene::nn
