#include "polyscene/nn/prune.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"
#include "polyscene/nn/vector_exp.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kGrain = 16384;  // floats a task

// What all rows of one call have in common.
template <typename T>
struct Form {
  T scale, threshold;
  bool binary;
  int64_t width;
};

template <bool binary, typename T>
POLYSCENE_INLINE void forward_rows(const T* h, const T* u, const T* shift, T* out, T* kept, const Form<T>& form,
                                   int64_t rows) {
  const auto width = form.width;
  for (int64_t b = 0; b < rows; ++b, h += width, u += width, out += width) {
    int32_t count = 0;  // not of floats, whose order of adding up would keep the loop from being vectorised
#pragma GCC ivdep
    for (int64_t n = 0; n < width; ++n) {
      const T v = form.scale * vector_sigmoid(u[n] + shift[n]);
      const T step = v > form.threshold ? T(1) : T(0);
      out[n] = (binary ? step : v * step) * h[n];
      count += static_cast<int32_t>(step);
    }
    kept[b] = static_cast<T>(count) / static_cast<T>(width);
  }
}

// du: through pi, and `through`, what reaches every factor straight from `kept`.
template <bool binary, typename T>
POLYSCENE_INLINE void backward_rows(const T* g, const T* g_kept, const T* h, const T* u, const T* shift, T* dh, T* du,
                                    const Form<T>& form, int64_t rows) {
  const auto width = form.width;
  for (int64_t b = 0; b < rows; ++b, g += width, h += width, u += width, dh += width, du += width) {
    const T through = g_kept[b] / static_cast<T>(width);
#pragma GCC ivdep
    for (int64_t n = 0; n < width; ++n) {
      const T s = vector_sigmoid(u[n] + shift[n]), v = form.scale * s;
      const T step = v > form.threshold ? T(1) : T(0);
      dh[n] = (binary ? step : v * step) * g[n];
      du[n] = ((binary ? T(1) : step) * g[n] * h[n] + through) * (v * (1 - s));
    }
  }
}

#define POLYSCENE_PRUNE_KERNELS(T)                                                                                   \
  POLYSCENE_SIMD void forward_of(const T* h, const T* u, const T* shift, T* out, T* kept, const Form<T>& form,       \
                                 int64_t rows) {                                                                     \
    if (form.binary) return forward_rows<true>(h, u, shift, out, kept, form, rows);                                  \
    forward_rows<false>(h, u, shift, out, kept, form, rows);                                                         \
  }                                                                                                                  \
  POLYSCENE_SIMD void backward_of(const T* g, const T* g_kept, const T* h, const T* u, const T* shift, T* dh, T* du, \
                                  const Form<T>& form, int64_t rows) {                                               \
    if (form.binary) return backward_rows<true>(g, g_kept, h, u, shift, dh, du, form, rows);                         \
    backward_rows<false>(g, g_kept, h, u, shift, dh, du, form, rows);                                                \
  }

POLYSCENE_PRUNE_KERNELS(float)
POLYSCENE_PRUNE_KERNELS(double)
#undef POLYSCENE_PRUNE_KERNELS

// Calls body(scene, first row, end) for pieces of scenes, side by side.
template <typename Body>
void run(const std::vector<int64_t>& offsets, int64_t width, Body&& body) {
  const auto grain = std::max<int64_t>(1, kGrain / width);
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    at::parallel_for(offsets[s], offsets[s + 1], grain,
                     [&](int64_t begin, int64_t end) { body(static_cast<int64_t>(s), begin, end); });
  }
}

class Prune : public torch::autograd::Function<Prune> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx, const Tensor& h, const Tensor& u,
                                                const Tensor& shift, const std::vector<int64_t>& offsets, double scale,
                                                double threshold, bool binary) {
    const auto rows = h.size(0), width = h.size(1);
    auto out = torch::empty_like(h), kept = torch::empty({rows}, h.options());
    AT_DISPATCH_FLOATING_TYPES(h.scalar_type(), "prune", [&] {
      const Form<scalar_t> form{static_cast<scalar_t>(scale), static_cast<scalar_t>(threshold), binary, width};
      const auto *from = h.const_data_ptr<scalar_t>(), *by = u.const_data_ptr<scalar_t>(),
                 *added = shift.const_data_ptr<scalar_t>();
      auto *to = out.data_ptr<scalar_t>(), *share = kept.data_ptr<scalar_t>();
      run(offsets, width, [&](int64_t s, int64_t begin, int64_t end) {
        const auto at = begin * width;
        forward_of(from + at, by + at, added + s * width, to + at, share + begin, form, end - begin);
      });
    });
    ctx->save_for_backward({h, u, shift});
    ctx->saved_data["offsets"] = offsets;
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
    const auto &h = saved[0], &u = saved[1], &shift = saved[2];
    const auto width = h.size(1);
    const auto offsets = ctx->saved_data["offsets"].toIntVector();
    const auto grad = grads[0].contiguous(), grad_kept = grads[1].contiguous();
    auto dh = torch::empty_like(h), du = torch::empty_like(u), dshift = torch::zeros_like(shift);
    AT_DISPATCH_FLOATING_TYPES(h.scalar_type(), "prune_backward", [&] {
      const Form<scalar_t> form{static_cast<scalar_t>(ctx->saved_data["scale"].toDouble()),
                                static_cast<scalar_t>(ctx->saved_data["threshold"].toDouble()),
                                ctx->saved_data["binary"].toBool(), width};
      const auto *g = grad.const_data_ptr<scalar_t>(), *g_kept = grad_kept.const_data_ptr<scalar_t>(),
                 *from = h.const_data_ptr<scalar_t>(), *by = u.const_data_ptr<scalar_t>(),
                 *added = shift.const_data_ptr<scalar_t>();
      auto *to_h = dh.data_ptr<scalar_t>(), *to_u = du.data_ptr<scalar_t>();
      run(offsets, width, [&](int64_t s, int64_t begin, int64_t end) {
        const auto at = begin * width;
        backward_of(g + at, g_kept + begin, from + at, by + at, added + s * width, to_h + at, to_u + at, form,
                    end - begin);
      });
    });
    for (int64_t s = 0; s < shift.size(0); ++s) {
      if (offsets[s] == offsets[s + 1]) continue;
      auto to = dshift[s];
      at::sum_out(to, du.narrow(0, offsets[s], offsets[s + 1] - offsets[s]), 0);
    }
    return {dh, du, dshift, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Pruned prune(const Tensor& h, const Tensor& u, const Tensor& shift, const SceneGroups& groups, double scale,
             double threshold, bool binary) {
  TORCH_CHECK_VALUE(h.dim() == 2 && h.size(0) == groups.rows() && h.size(1) > 0 && u.sizes() == h.sizes(),
                    "prune: h and u must be [", groups.rows(), ", N] alike, got ", h.sizes(), " and ", u.sizes());
  TORCH_CHECK_VALUE(shift.dim() == 2 && shift.size(0) == groups.scenes() && shift.size(1) == h.size(1),
                    "prune: shift must be [", groups.scenes(), ", ", h.size(1), "], got ", shift.sizes());
  if (plain({h, u, shift})) {
    const auto both =
        Prune::apply(h.contiguous(), u.contiguous(), shift.contiguous(), groups.offsets, scale, threshold, binary);
    return {both[0], both[1]};
  }
  std::vector<Tensor> moved;
  for (int64_t s = 0; s < groups.scenes(); ++s) {
    moved.push_back(u.narrow(0, groups.offsets[s], groups.rows(s)) + shift[s]);
  }
  const auto v = scale * torch::cat(moved, 0).sigmoid();
  const auto hard = (v > threshold).to(v.scalar_type());
  const auto step = hard + (v - v.detach());
  return {(binary ? step : v * hard) * h, step.mean(1)};
}

}  // namespace polyscene::nn
