#include "polyscene/nn/row_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"
#include "polyscene/nn/vector_exp.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kLanes = 16;  // rows side by side: the inner dimension of every buffer

// F positions, heads of width d.
struct Sizes {
  int64_t fields, heads, width;
  int64_t dim() const { return heads * width; }
  int64_t weights() const { return fields * heads * fields * kLanes; }
};

// Rows of `columns` values become columns of lanes, and back; lanes beyond `rows` are 0 and are not written.
template <typename T>
POLYSCENE_INLINE void to_lanes(const T* from, T* to, int64_t rows, int64_t columns) {
  if (rows < kLanes) std::fill(to, to + columns * kLanes, T(0));
  for (int64_t b = 0; b < rows; ++b) {
    for (int64_t c = 0; c < columns; ++c) to[c * kLanes + b] = from[b * columns + c];
  }
}

template <typename T>
POLYSCENE_INLINE void from_lanes(const T* from, T* to, int64_t rows, int64_t columns) {
  for (int64_t b = 0; b < rows; ++b) {
    for (int64_t c = 0; c < columns; ++c) to[b * columns + c] = from[c * kLanes + b];
  }
}

// qkv [F, 3 D, lanes]; p [F, heads, F, lanes] and out [F, D, lanes] are written.
template <typename T>
POLYSCENE_INLINE void attend(const T* qkv, T* p, T* out, const Sizes& n, T scale) {
  const int64_t dim = n.dim(), d = n.width, step = 3 * dim * kLanes;
  for (int64_t f = 0; f < n.fields; ++f) {
    for (int64_t h = 0; h < n.heads; ++h, p += n.fields * kLanes) {
      const T* q = qkv + f * step + h * d * kLanes;
      const T* k = qkv + (dim + h * d) * kLanes;
      const T* v = qkv + (2 * dim + h * d) * kLanes;
      T most[kLanes], sum[kLanes] = {};
      for (int64_t g = 0; g < n.fields; ++g) {
        T score[kLanes] = {};
        for (int64_t c = 0; c < d; ++c) {
#pragma GCC ivdep
          for (int64_t b = 0; b < kLanes; ++b) score[b] += q[c * kLanes + b] * k[g * step + c * kLanes + b];
        }
#pragma GCC ivdep
        for (int64_t b = 0; b < kLanes; ++b) {
          score[b] *= scale;
          most[b] = g == 0 || score[b] > most[b] ? score[b] : most[b];
          p[g * kLanes + b] = score[b];
        }
      }
      for (int64_t g = 0; g < n.fields; ++g) {
#pragma GCC ivdep
        for (int64_t b = 0; b < kLanes; ++b) {
          p[g * kLanes + b] = vector_exp(p[g * kLanes + b] - most[b]);
          sum[b] += p[g * kLanes + b];
        }
      }
#pragma GCC ivdep
      for (int64_t b = 0; b < kLanes; ++b) sum[b] = 1 / sum[b];
      T* to = out + (f * dim + h * d) * kLanes;
      std::fill(to, to + d * kLanes, T(0));
      for (int64_t g = 0; g < n.fields; ++g) {
#pragma GCC ivdep
        for (int64_t b = 0; b < kLanes; ++b) p[g * kLanes + b] *= sum[b];
        for (int64_t c = 0; c < d; ++c) {
#pragma GCC ivdep
          for (int64_t b = 0; b < kLanes; ++b) {
            to[c * kLanes + b] += p[g * kLanes + b] * v[g * step + c * kLanes + b];
          }
        }
      }
    }
  }
}

// g [F, D, lanes] to dqkv [F, 3 D, lanes], which starts as 0; dp [F, lanes] is a buffer.
template <typename T>
POLYSCENE_INLINE void attend_back(const T* g_out, const T* qkv, const T* p, T* dqkv, T* dp, const Sizes& n, T scale) {
  const int64_t dim = n.dim(), d = n.width, step = 3 * dim * kLanes;
  for (int64_t f = 0; f < n.fields; ++f) {
    for (int64_t h = 0; h < n.heads; ++h, p += n.fields * kLanes) {
      const int64_t at_q = f * step + h * d * kLanes, at_k = (dim + h * d) * kLanes, at_v = (2 * dim + h * d) * kLanes;
      const T* go = g_out + (f * dim + h * d) * kLanes;
      T mean[kLanes] = {};
      for (int64_t g = 0; g < n.fields; ++g) {
        T* to = dp + g * kLanes;
#pragma GCC ivdep
        for (int64_t b = 0; b < kLanes; ++b) to[b] = 0;
        for (int64_t c = 0; c < d; ++c) {
          const T* v = qkv + at_v + g * step + c * kLanes;
          T* dv = dqkv + at_v + g * step + c * kLanes;
#pragma GCC ivdep
          for (int64_t b = 0; b < kLanes; ++b) {
            to[b] += go[c * kLanes + b] * v[b];
            dv[b] += p[g * kLanes + b] * go[c * kLanes + b];
          }
        }
#pragma GCC ivdep
        for (int64_t b = 0; b < kLanes; ++b) mean[b] += p[g * kLanes + b] * to[b];
      }
      for (int64_t g = 0; g < n.fields; ++g) {
        T ds[kLanes];
#pragma GCC ivdep
        for (int64_t b = 0; b < kLanes; ++b) ds[b] = scale * p[g * kLanes + b] * (dp[g * kLanes + b] - mean[b]);
        for (int64_t c = 0; c < d; ++c) {
          const T *q = qkv + at_q + c * kLanes, *k = qkv + at_k + g * step + c * kLanes;
          T *dq = dqkv + at_q + c * kLanes, *dk = dqkv + at_k + g * step + c * kLanes;
#pragma GCC ivdep
          for (int64_t b = 0; b < kLanes; ++b) dq[b] += ds[b] * k[b];
#pragma GCC ivdep
          for (int64_t b = 0; b < kLanes; ++b) dk[b] += ds[b] * q[b];
        }
      }
    }
  }
}

template <typename T>
POLYSCENE_INLINE void forward_tiles(const T* qkv, T* p, T* out, T* buffer, int64_t begin, int64_t end, int64_t rows,
                                    const Sizes& n) {
  const int64_t in = n.fields * 3 * n.dim(), to = n.fields * n.dim();
  const T scale = 1 / std::sqrt(static_cast<T>(n.width));
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t first = tile * kLanes, count = std::min(kLanes, rows - first);
    to_lanes(qkv + first * in, buffer, count, in);
    attend(buffer, p + tile * n.weights(), buffer + in * kLanes, n, scale);
    from_lanes(buffer + in * kLanes, out + first * to, count, to);
  }
}

template <typename T>
POLYSCENE_INLINE void backward_tiles(const T* grad, const T* qkv, const T* p, T* dqkv, T* buffer, int64_t begin,
                                     int64_t end, int64_t rows, const Sizes& n) {
  const int64_t in = n.fields * 3 * n.dim(), to = n.fields * n.dim();
  const T scale = 1 / std::sqrt(static_cast<T>(n.width));
  T *x = buffer, *dx = x + in * kLanes, *g = dx + in * kLanes, *dp = g + to * kLanes;
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t first = tile * kLanes, count = std::min(kLanes, rows - first);
    to_lanes(qkv + first * in, x, count, in);
    to_lanes(grad + first * to, g, count, to);
    std::fill(dx, dx + in * kLanes, T(0));
    attend_back(g, x, p + tile * n.weights(), dx, dp, n, scale);
    from_lanes(dx, dqkv + first * in, count, in);
  }
}

#define POLYSCENE_ROW_ATTENTION(T)                                                                                \
  POLYSCENE_SIMD void forward_of(const T* qkv, T* p, T* out, T* buffer, int64_t begin, int64_t end, int64_t rows, \
                                 const Sizes& n) {                                                                \
    forward_tiles(qkv, p, out, buffer, begin, end, rows, n);                                                      \
  }                                                                                                               \
  POLYSCENE_SIMD void backward_of(const T* grad, const T* qkv, const T* p, T* dqkv, T* buffer, int64_t begin,     \
                                  int64_t end, int64_t rows, const Sizes& n) {                                    \
    backward_tiles(grad, qkv, p, dqkv, buffer, begin, end, rows, n);                                              \
  }

POLYSCENE_ROW_ATTENTION(float)
POLYSCENE_ROW_ATTENTION(double)
#undef POLYSCENE_ROW_ATTENTION

class RowAttention : public torch::autograd::Function<RowAttention> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& qkv, int64_t heads) {
    const auto rows = qkv.size(0), fields = qkv.size(1), dim = qkv.size(2) / 3;
    const Sizes n{fields, heads, dim / heads};
    const auto tiles = (rows + kLanes - 1) / kLanes;
    auto out = torch::empty({rows, fields, dim}, qkv.options());
    auto weights = torch::empty({tiles * n.weights()}, qkv.options());
    AT_DISPATCH_FLOATING_TYPES(qkv.scalar_type(), "row_attention", [&] {
      const auto* from = qkv.const_data_ptr<scalar_t>();
      auto *p = weights.data_ptr<scalar_t>(), *to = out.data_ptr<scalar_t>();
      at::parallel_for(0, tiles, 4, [&](int64_t begin, int64_t end) {
        std::vector<scalar_t> buffer(4 * fields * dim * kLanes);
        forward_of(from, p, to, buffer.data(), begin, end, rows, n);
      });
    });
    ctx->save_for_backward({qkv, weights});
    ctx->saved_data["heads"] = heads;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "row_attention: derivatives of higher order need a forward under PlainGuard");
    const auto saved = ctx->get_saved_variables();
    const auto &qkv = saved[0], &weights = saved[1];
    const auto rows = qkv.size(0), fields = qkv.size(1), dim = qkv.size(2) / 3;
    const auto heads = ctx->saved_data["heads"].toInt();
    const Sizes n{fields, heads, dim / heads};
    const auto grad = grads[0].contiguous();
    auto out = torch::empty_like(qkv);
    AT_DISPATCH_FLOATING_TYPES(qkv.scalar_type(), "row_attention_backward", [&] {
      const auto *g = grad.const_data_ptr<scalar_t>(), *from = qkv.const_data_ptr<scalar_t>(),
                 *p = weights.const_data_ptr<scalar_t>();
      auto* to = out.data_ptr<scalar_t>();
      at::parallel_for(0, (rows + kLanes - 1) / kLanes, 4, [&](int64_t begin, int64_t end) {
        std::vector<scalar_t> buffer((7 * dim + 1) * fields * kLanes);
        backward_of(g, from, p, to, buffer.data(), begin, end, rows, n);
      });
    });
    return {out, Tensor()};
  }
};

// The same by operators that autograd knows.
Tensor by_operators(const Tensor& qkv, int64_t heads) {
  const auto parts = qkv.unflatten(2, {3, heads, -1}).permute({2, 0, 3, 1, 4});  // [3, B, heads, F, d]
  const auto scale = 1 / std::sqrt(static_cast<double>(parts.size(4)));
  const auto weights = (parts[0] * scale).matmul(parts[1].transpose(-2, -1)).softmax(-1);
  return weights.matmul(parts[2]).transpose(1, 2).flatten(2);
}

}  // namespace

Tensor row_attention(const Tensor& qkv, int64_t heads) {
  TORCH_CHECK_VALUE(heads > 0 && qkv.dim() == 3 && qkv.size(1) > 0 && qkv.size(2) > 0 && qkv.size(2) % (3 * heads) == 0,
                    "row_attention: qkv must be [B, F, 3 D] with D a multiple of ", heads, " heads, got ", qkv.sizes());
  return plain({qkv}) ? RowAttention::apply(qkv.contiguous(), heads) : by_operators(qkv, heads);
}

}  // namespace polyscene::nn
