#include "polyscene/nn/softmax.h"

#include <ATen/Parallel.h>

#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"
#include "polyscene/nn/vector_exp.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kMostChoices = 32;  // beyond, rows are long enough for the general operator
constexpr int64_t kTogether = 64;     // rows that are exponentiated together
constexpr int64_t kRowsATask = 1024;  // rows a task

template <typename T>
POLYSCENE_INLINE void softmax(const T* z, T* y, int64_t rows, int64_t columns) {
  for (int64_t begin = 0; begin < rows; begin += kTogether) {
    const int64_t count = std::min(kTogether, rows - begin), numbers = count * columns;
    const T* from = z + begin * columns;
    T* to = y + begin * columns;
    for (int64_t b = 0; b < count; ++b) {
      T most = from[b * columns];
      for (int64_t k = 1; k < columns; ++k) most = from[b * columns + k] > most ? from[b * columns + k] : most;
      for (int64_t k = 0; k < columns; ++k) to[b * columns + k] = from[b * columns + k] - most;
    }
    for (int64_t i = 0; i < numbers; ++i) to[i] = to[i] < T(-87) ? T(0) : vector_exp(to[i]);
    for (int64_t b = 0; b < count; ++b) {
      T sum = 0;
      for (int64_t k = 0; k < columns; ++k) sum += to[b * columns + k];
      for (int64_t k = 0; k < columns; ++k) to[b * columns + k] /= sum;
    }
  }
}

// dz = y (g - sum_k g_k y_k).
template <typename T>
POLYSCENE_INLINE void softmax_back(const T* g, const T* y, T* dz, int64_t rows, int64_t columns) {
  for (int64_t b = 0; b < rows; ++b, g += columns, y += columns, dz += columns) {
    T sum = 0;
    for (int64_t k = 0; k < columns; ++k) sum += g[k] * y[k];
    for (int64_t k = 0; k < columns; ++k) dz[k] = y[k] * (g[k] - sum);
  }
}

#define POLYSCENE_SOFTMAX_KERNELS(T)                                                                  \
  POLYSCENE_SIMD void softmax_of(const T* z, T* y, int64_t rows, int64_t columns) {                   \
    if (columns == 3) return softmax(z, y, rows, 3);                                                  \
    softmax(z, y, rows, columns);                                                                     \
  }                                                                                                   \
  POLYSCENE_SIMD void softmax_back_of(const T* g, const T* y, T* dz, int64_t rows, int64_t columns) { \
    if (columns == 3) return softmax_back(g, y, dz, rows, 3);                                         \
    softmax_back(g, y, dz, rows, columns);                                                            \
  }

POLYSCENE_SOFTMAX_KERNELS(float)
POLYSCENE_SOFTMAX_KERNELS(double)
#undef POLYSCENE_SOFTMAX_KERNELS

class Softmax : public torch::autograd::Function<Softmax> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& z) {
    auto out = torch::empty_like(z);
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "softmax_rows", [&] {
      const auto* from = z.const_data_ptr<scalar_t>();
      auto* to = out.data_ptr<scalar_t>();
      at::parallel_for(0, z.size(0), kRowsATask, [&](int64_t begin, int64_t end) {
        softmax_of(from + begin * z.size(1), to + begin * z.size(1), end - begin, z.size(1));
      });
    });
    ctx->save_for_backward({out});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "softmax_rows: derivatives of higher order need a forward under PlainGuard");
    const auto y = ctx->get_saved_variables()[0];
    const auto grad = grads[0].contiguous();
    auto out = torch::empty_like(y);
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "softmax_rows_backward", [&] {
      const auto *g = grad.const_data_ptr<scalar_t>(), *from = y.const_data_ptr<scalar_t>();
      auto* to = out.data_ptr<scalar_t>();
      at::parallel_for(0, y.size(0), kRowsATask, [&](int64_t begin, int64_t end) {
        const auto at = begin * y.size(1);
        softmax_back_of(g + at, from + at, to + at, end - begin, y.size(1));
      });
    });
    return {out};
  }
};

}  // namespace

Tensor softmax_rows(const Tensor& z) {
  TORCH_CHECK_VALUE(z.dim() == 2, "softmax_rows: z must be [B, K], got ", z.sizes());
  if (!plain({z}) || z.size(1) > kMostChoices || z.size(1) == 0) return z.softmax(1);
  return Softmax::apply(z.contiguous());
}

}  // namespace polyscene::nn
