#include "polyscene/nn/unit_rows.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "polyscene/nn/dot.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kUnitFloats = 32768;  // numbers a task
constexpr double kLeast = 1e-12;        // length below which a row is no direction

// `scale` receives 1 / |x| of each row; negative where the row stays as it is.
template <typename T>
POLYSCENE_INLINE void to_unit(const T* x, T* out, T* scale, int64_t first, int64_t rows, int64_t width, int64_t every) {
  for (int64_t r = 0; r < rows; ++r, x += width, out += width) {
    const bool stays = every > 0 && (first + r) % every == 0;
    const T by = stays ? T(1) : T(1) / std::max(std::sqrt(dot(x, x, width)), static_cast<T>(kLeast));
    for (int64_t d = 0; d < width; ++d) out[d] = x[d] * by;
    scale[r] = stays ? T(-1) : by;
  }
}

template <typename T>
POLYSCENE_INLINE void to_unit_back(const T* g, const T* out, const T* scale, T* dx, int64_t rows, int64_t width) {
  constexpr T kMost = T(1) / static_cast<T>(kLeast);
  for (int64_t r = 0; r < rows; ++r, g += width, out += width, dx += width) {
    const bool stays = scale[r] < 0;
    const T by = stays ? T(1) : scale[r];
    const T along = stays || by >= kMost ? T(0) : dot(g, out, width);
    for (int64_t d = 0; d < width; ++d) dx[d] = (g[d] - along * out[d]) * by;
  }
}

#define POLYSCENE_UNIT_KERNELS(T)                                                                                     \
  POLYSCENE_SIMD void to_unit_of(const T* x, T* out, T* scale, int64_t first, int64_t rows, int64_t width,            \
                                 int64_t every) {                                                                     \
    to_unit(x, out, scale, first, rows, width, every);                                                                \
  }                                                                                                                   \
  POLYSCENE_SIMD void to_unit_back_of(const T* g, const T* out, const T* scale, T* dx, int64_t rows, int64_t width) { \
    to_unit_back(g, out, scale, dx, rows, width);                                                                     \
  }
POLYSCENE_UNIT_KERNELS(float)
POLYSCENE_UNIT_KERNELS(double)

class UnitRows : public torch::autograd::Function<UnitRows> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& given, int64_t every) {
    const auto x = given.contiguous();
    const auto rows = x.size(0), width = x.size(1);
    auto out = torch::empty_like(x), scale = torch::empty({rows}, x.options());
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "unit_rows", [&] {
      const auto* from = x.const_data_ptr<scalar_t>();
      auto *to = out.data_ptr<scalar_t>(), *by = scale.data_ptr<scalar_t>();
      at::parallel_for(0, rows, kUnitFloats / std::max<int64_t>(1, width) + 1, [&](int64_t begin, int64_t end) {
        to_unit_of(from + begin * width, to + begin * width, by + begin, begin, end - begin, width, every);
      });
    });
    context->save_for_backward({out, scale});
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &out = saved[0], &scale = saved[1];
    const auto rows = out.size(0), width = out.size(1);
    TORCH_CHECK_NOT_IMPLEMENTED(!torch::GradMode::is_enabled(),
                                "unit_rows: derivatives of higher order need a forward under PlainGuard");
    const auto g = gradients[0].contiguous();
    auto dx = torch::empty_like(out);
    AT_DISPATCH_FLOATING_TYPES(out.scalar_type(), "unit_rows_backward", [&] {
      const auto *from = g.const_data_ptr<scalar_t>(), *y = out.const_data_ptr<scalar_t>(),
                 *by = scale.const_data_ptr<scalar_t>();
      auto* to = dx.data_ptr<scalar_t>();
      at::parallel_for(0, rows, kUnitFloats / std::max<int64_t>(1, width) + 1, [&](int64_t begin, int64_t end) {
        to_unit_back_of(from + begin * width, y + begin * width, by + begin, to + begin * width, end - begin, width);
      });
    });
    return {dx, {}};
  }
};

}  // namespace

Tensor unit_rows(const Tensor& x, int64_t every) {
  TORCH_CHECK_VALUE(x.dim() == 2 && every >= 0 && (every == 0 || x.size(0) % every == 0),
                    "unit_rows: x must be [n, D] with n a multiple of every = ", every, ", got ", x.sizes());
  if (plain({x})) return UnitRows::apply(x, every);
  const auto unit = x / x.norm(2, 1, /*keepdim=*/true).clamp_min(kLeast);
  if (every == 0) return unit;
  const auto stays = torch::arange(x.size(0), x.device()).remainder(every).eq(0).unsqueeze(1);
  return torch::where(stays, x, unit);
}

}  // namespace polyscene::nn
