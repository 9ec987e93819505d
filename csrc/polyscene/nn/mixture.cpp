#include "polyscene/nn/mixture.h"

#include <ATen/Parallel.h>

#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kFloats = 16384;  // floats a task

int64_t grain(int64_t floats_a_row) { return std::max<int64_t>(1, kFloats / std::max<int64_t>(1, floats_a_row)); }

template <typename T>
POLYSCENE_INLINE void mix(const T* w, const T* v, T* out, int64_t rows, int64_t experts, int64_t width) {
  for (int64_t b = 0; b < rows; ++b, w += experts, v += experts * width, out += width) {
    for (int64_t h = 0; h < width; ++h) out[h] = w[0] * v[h];
    for (int64_t e = 1; e < experts; ++e) {
      for (int64_t h = 0; h < width; ++h) out[h] += w[e] * v[e * width + h];
    }
  }
}

// Sixteen sums side by side: compilers may not reorder one sum to use wide registers.
template <typename T>
POLYSCENE_INLINE T dot(const T* x, const T* y, int64_t width) {
  T lanes[16] = {}, sum = 0;
  int64_t h = 0;
  for (; h + 16 <= width; h += 16) {
    for (int64_t lane = 0; lane < 16; ++lane) lanes[lane] += x[h + lane] * y[h + lane];
  }
  for (; h < width; ++h) sum += x[h] * y[h];
  for (int64_t lane = 0; lane < 16; ++lane) sum += lanes[lane];
  return sum;
}

template <typename T>
POLYSCENE_INLINE void unmix(const T* g, const T* w, const T* v, T* dw, T* dv, int64_t rows, int64_t experts,
                            int64_t width) {
  for (int64_t b = 0; b < rows; ++b, g += width) {
    for (int64_t e = 0; e < experts; ++e, ++w, ++dw, v += width, dv += width) {
      for (int64_t h = 0; h < width; ++h) dv[h] = *w * g[h];
      *dw = dot(v, g, width);
    }
  }
}

// sums [D] is kept for the gradient: d out / d v[f] = sums - v[f].
template <typename T>
POLYSCENE_INLINE void products(const T* v, T* sums, T* out, int64_t rows, int64_t fields, int64_t width) {
  for (int64_t b = 0; b < rows; ++b, sums += width) {
    T squares = 0, total = 0;
    for (int64_t d = 0; d < width; ++d) sums[d] = 0;
    for (int64_t f = 0; f < fields; ++f, v += width) {
      for (int64_t d = 0; d < width; ++d) {
        sums[d] += v[d];
        squares += v[d] * v[d];
      }
    }
    for (int64_t d = 0; d < width; ++d) total += sums[d] * sums[d];
    out[b] = (total - squares) / 2;
  }
}

template <typename T>
POLYSCENE_INLINE void products_back(const T* g, const T* v, const T* sums, T* dv, int64_t rows, int64_t fields,
                                    int64_t width) {
  for (int64_t b = 0; b < rows; ++b, sums += width) {
    for (int64_t f = 0; f < fields; ++f, v += width, dv += width) {
      for (int64_t d = 0; d < width; ++d) dv[d] = g[b] * (sums[d] - v[d]);
    }
  }
}

#define POLYSCENE_MIXTURE_KERNELS(T)                                                                               \
  POLYSCENE_SIMD void mix_of(const T* w, const T* v, T* out, int64_t rows, int64_t experts, int64_t width) {       \
    mix(w, v, out, rows, experts, width);                                                                          \
  }                                                                                                                \
  POLYSCENE_SIMD void unmix_of(const T* g, const T* w, const T* v, T* dw, T* dv, int64_t rows, int64_t experts,    \
                               int64_t width) {                                                                    \
    unmix(g, w, v, dw, dv, rows, experts, width);                                                                  \
  }                                                                                                                \
  POLYSCENE_SIMD void products_of(const T* v, T* sums, T* out, int64_t rows, int64_t fields, int64_t width) {      \
    products(v, sums, out, rows, fields, width);                                                                   \
  }                                                                                                                \
  POLYSCENE_SIMD void products_back_of(const T* g, const T* v, const T* sums, T* dv, int64_t rows, int64_t fields, \
                                       int64_t width) {                                                            \
    products_back(g, v, sums, dv, rows, fields, width);                                                            \
  }

POLYSCENE_MIXTURE_KERNELS(float)
POLYSCENE_MIXTURE_KERNELS(double)
#undef POLYSCENE_MIXTURE_KERNELS

class Mixture : public torch::autograd::Function<Mixture> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& weight, const Tensor& values) {
    const auto rows = values.size(0), experts = values.size(1), width = values.size(2);
    auto out = torch::empty({rows, width}, values.options());
    AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "mixture", [&] {
      const auto *w = weight.const_data_ptr<scalar_t>(), *v = values.const_data_ptr<scalar_t>();
      auto* to = out.data_ptr<scalar_t>();
      at::parallel_for(0, rows, grain(experts * width), [&](int64_t begin, int64_t end) {
        mix_of(w + begin * experts, v + begin * experts * width, to + begin * width, end - begin, experts, width);
      });
    });
    ctx->save_for_backward({weight, values});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "mixture: derivatives of higher order need a forward under PlainGuard");
    const auto saved = ctx->get_saved_variables();
    const auto &weight = saved[0], &values = saved[1];
    const auto rows = values.size(0), experts = values.size(1), width = values.size(2);
    const auto grad = grads[0].contiguous();
    auto dw = torch::empty_like(weight), dv = torch::empty_like(values);
    AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "mixture_backward", [&] {
      const auto *g = grad.const_data_ptr<scalar_t>(), *w = weight.const_data_ptr<scalar_t>(),
                 *v = values.const_data_ptr<scalar_t>();
      auto *to_w = dw.data_ptr<scalar_t>(), *to_v = dv.data_ptr<scalar_t>();
      at::parallel_for(0, rows, grain(experts * width), [&](int64_t begin, int64_t end) {
        const auto at = begin * experts;
        unmix_of(g + begin * width, w + at, v + at * width, to_w + at, to_v + at * width, end - begin, experts, width);
      });
    });
    return {dw, dv};
  }
};

class PairProducts : public torch::autograd::Function<PairProducts> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& slots) {
    const auto rows = slots.size(0), fields = slots.size(1), width = slots.size(2);
    auto out = torch::empty({rows}, slots.options()), sums = torch::empty({rows, width}, slots.options());
    AT_DISPATCH_FLOATING_TYPES(slots.scalar_type(), "pair_products", [&] {
      const auto* v = slots.const_data_ptr<scalar_t>();
      auto *s = sums.data_ptr<scalar_t>(), *to = out.data_ptr<scalar_t>();
      at::parallel_for(0, rows, grain(fields * width), [&](int64_t begin, int64_t end) {
        products_of(v + begin * fields * width, s + begin * width, to + begin, end - begin, fields, width);
      });
    });
    ctx->save_for_backward({slots, sums});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "pair_products: derivatives of higher order need a forward under PlainGuard");
    const auto saved = ctx->get_saved_variables();
    const auto &slots = saved[0], &sums = saved[1];
    const auto rows = slots.size(0), fields = slots.size(1), width = slots.size(2);
    const auto grad = grads[0].contiguous();
    auto out = torch::empty_like(slots);
    AT_DISPATCH_FLOATING_TYPES(slots.scalar_type(), "pair_products_backward", [&] {
      const auto *g = grad.const_data_ptr<scalar_t>(), *v = slots.const_data_ptr<scalar_t>(),
                 *s = sums.const_data_ptr<scalar_t>();
      auto* to = out.data_ptr<scalar_t>();
      at::parallel_for(0, rows, grain(fields * width), [&](int64_t begin, int64_t end) {
        const auto at = begin * fields * width;
        products_back_of(g + begin, v + at, s + begin * width, to + at, end - begin, fields, width);
      });
    });
    return {out};
  }
};

}  // namespace

Tensor mixture(const Tensor& weight, const Tensor& values) {
  TORCH_CHECK_VALUE(
      values.dim() == 3 && values.size(1) > 0 && weight.dim() == 2 && weight.sizes() == values.sizes().slice(0, 2),
      "mixture: weight must be [B, E] and values [B, E, H], got ", weight.sizes(), " and ", values.sizes());
  if (plain({weight, values})) return Mixture::apply(weight.contiguous(), values.contiguous());
  return (weight.unsqueeze(2) * values).sum(1);
}

Tensor pair_products(const Tensor& slots) {
  TORCH_CHECK_VALUE(slots.dim() == 3, "pair_products: slots must be [B, F, D], got ", slots.sizes());
  if (plain({slots})) return PairProducts::apply(slots.contiguous());
  return 0.5 * (slots.sum(1).square() - slots.square().sum(1)).sum(1);
}

}  // namespace polyscene::nn
