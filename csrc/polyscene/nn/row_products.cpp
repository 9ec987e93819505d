#include "polyscene/nn/row_products.h"

#include <ATen/Parallel.h>

#include "polyscene/nn/dot.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kTaskFloats = 32768;  // numbers a task

template <typename T>
POLYSCENE_INLINE void row_products_into(const T* one, const T* many, T* out, int64_t rows, int64_t count,
                                        int64_t width) {
  for (int64_t b = 0; b < rows; ++b, one += width) {
    for (int64_t k = 0; k < count; ++k, many += width) *out++ = dot(one, many, width);
  }
}

template <typename T>
POLYSCENE_INLINE void row_products_back(const T* gradient, const T* one, const T* many, T* to_one, T* to_many,
                                        int64_t rows, int64_t count, int64_t width) {
  for (int64_t b = 0; b < rows; ++b, one += width, to_one += width) {
    for (int64_t d = 0; d < width; ++d) to_one[d] = 0;
    for (int64_t k = 0; k < count; ++k, many += width, to_many += width) {
      const T g = *gradient++;
      for (int64_t d = 0; d < width; ++d) {
        to_one[d] += g * many[d];
        to_many[d] = g * one[d];
      }
    }
  }
}

#define POLYSCENE_ROW_PRODUCTS_KERNELS(T)                                                                         \
  POLYSCENE_SIMD void row_products_of(const T* one, const T* many, T* out, int64_t rows, int64_t count,           \
                                      int64_t width) {                                                            \
    row_products_into(one, many, out, rows, count, width);                                                        \
  }                                                                                                               \
  POLYSCENE_SIMD void row_products_back_of(const T* gradient, const T* one, const T* many, T* to_one, T* to_many, \
                                           int64_t rows, int64_t count, int64_t width) {                          \
    row_products_back(gradient, one, many, to_one, to_many, rows, count, width);                                  \
  }
POLYSCENE_ROW_PRODUCTS_KERNELS(float)
POLYSCENE_ROW_PRODUCTS_KERNELS(double)

int64_t rows_a_task(int64_t count, int64_t width) {
  return std::max<int64_t>(1, kTaskFloats / std::max<int64_t>(1, count * width));
}

class RowProducts : public torch::autograd::Function<RowProducts> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& one_, const Tensor& many_, int64_t count) {
    const auto one = one_.contiguous(), many = many_.contiguous();
    context->save_for_backward({one, many});
    const auto rows = one.size(0), width = one.size(1);
    auto out = torch::empty({rows, count}, one.options());
    AT_DISPATCH_FLOATING_TYPES(one.scalar_type(), "row_products", [&] {
      const auto *a = one.const_data_ptr<scalar_t>(), *b = many.const_data_ptr<scalar_t>();
      auto* to = out.data_ptr<scalar_t>();
      at::parallel_for(0, rows, rows_a_task(count, width), [&](int64_t begin, int64_t end) {
        row_products_of(a + begin * width, b + begin * count * width, to + begin * count, end - begin, count, width);
      });
    });
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list given) {
    const auto saved = context->get_saved_variables();
    const auto &one = saved[0], &many = saved[1];
    const auto gradient = given[0].contiguous();
    if (torch::GradMode::is_enabled()) {  // to be differentiated again
      const auto wide = many.view({one.size(0), -1, one.size(1)});
      return {(gradient.unsqueeze(2) * wide).sum(1), (gradient.unsqueeze(2) * one.unsqueeze(1)).view_as(many), {}};
    }
    const auto rows = one.size(0), width = one.size(1), count = gradient.size(1);
    auto to_one = torch::empty_like(one), to_many = torch::empty_like(many);
    AT_DISPATCH_FLOATING_TYPES(one.scalar_type(), "row_products_backward", [&] {
      const auto *g = gradient.const_data_ptr<scalar_t>(), *a = one.const_data_ptr<scalar_t>(),
                 *b = many.const_data_ptr<scalar_t>();
      auto *d_one = to_one.data_ptr<scalar_t>(), *d_many = to_many.data_ptr<scalar_t>();
      at::parallel_for(0, rows, rows_a_task(count, width), [&](int64_t begin, int64_t end) {
        const auto from = begin * count * width;
        row_products_back_of(g + begin * count, a + begin * width, b + from, d_one + begin * width, d_many + from,
                             end - begin, count, width);
      });
    });
    return {to_one, to_many, {}};
  }
};

}  // namespace

Tensor row_products(const Tensor& one, const Tensor& many, int64_t count) {
  TORCH_CHECK_VALUE(one.dim() == 2 && many.dim() == 2 && count >= 0 && many.size(0) == one.size(0) * count &&
                        many.size(1) == one.size(1),
                    "row_products: one must be [B, D] and many [B K, D] with K = ", count, ", got ", one.sizes(),
                    " and ", many.sizes());
  if (!plain({one, many})) {
    return (many.view({one.size(0), count, one.size(1)}) * one.unsqueeze(1)).sum(2);
  }
  return RowProducts::apply(one, many, count);
}

}  // namespace polyscene::nn
