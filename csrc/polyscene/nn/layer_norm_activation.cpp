#include "polyscene/nn/layer_norm_activation.h"

#include "polyscene/nn/activation_kernels.h"
#include "polyscene/nn/mlp.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kLanes = 16;  // sums side by side: one sum alone would keep loops from being vectorised

template <typename T>
POLYSCENE_INLINE T total(const T* lanes) {
  T out = 0;
  for (int64_t l = 0; l < kLanes; ++l) out += lanes[l];
  return out;
}

// Calls body(lane, c) for every column, lane by lane.
template <typename Body>
POLYSCENE_INLINE void by_lanes(int64_t columns, Body&& body) {
  int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) {
#pragma GCC ivdep
    for (int64_t l = 0; l < kLanes; ++l) body(l, c + l);
  }
  for (int64_t l = 0; c < columns; ++l, ++c) body(l, c);
}

// Rows of one scene: experts x columns numbers each.
template <Act act, typename T>
POLYSCENE_INLINE void normalise(const T* z, const T* scale, const T* shift, T* y, T* mean, T* inverse, int64_t rows,
                                int64_t experts, int64_t columns, T eps) {
  for (int64_t i = 0; i < rows * experts; ++i, z += columns, y += columns) {
    T sum[kLanes] = {}, squares[kLanes] = {};
    by_lanes(columns, [&](int64_t l, int64_t c) { sum[l] += z[c]; });
    const T centre = total(sum) / static_cast<T>(columns);
    by_lanes(columns, [&](int64_t l, int64_t c) { squares[l] += (z[c] - centre) * (z[c] - centre); });
    const T spread = 1 / std::sqrt(total(squares) / static_cast<T>(columns) + eps);
    const T *times = scale + i % experts * columns, *plus = shift + i % experts * columns;
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) y[c] = activated((z[c] - centre) * spread * times[c] + plus[c], act);
    mean[i] = centre;
    inverse[i] = spread;
  }
}

// dz, and what the rows add to the gradients of scale and shift.
template <Act act, typename T>
POLYSCENE_INLINE void denormalise(const T* dy, const T* y, const T* z, const T* mean, const T* inverse, const T* scale,
                                  T* dz, T* dscale, T* dshift, int64_t rows, int64_t experts, int64_t columns) {
  for (int64_t i = 0; i < rows * experts; ++i, dy += columns, y += columns, z += columns, dz += columns) {
    const int64_t at = i % experts * columns;
    const T *times = scale + at, centre = mean[i], spread = inverse[i];
    T *to_scale = dscale + at, *to_shift = dshift + at;
    T sum[kLanes] = {}, moved[kLanes] = {};
    by_lanes(columns, [&](int64_t l, int64_t c) {
      const T g = dy[c] * slope(y[c], act), normal = (z[c] - centre) * spread;
      to_scale[c] += g * normal;
      to_shift[c] += g;
      sum[l] += g * times[c];
      moved[l] += g * times[c] * normal;
    });
    const T mean_sum = total(sum) / static_cast<T>(columns), mean_moved = total(moved) / static_cast<T>(columns);
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) {
      const T g = dy[c] * slope(y[c], act), normal = (z[c] - centre) * spread;
      dz[c] = spread * (g * times[c] - mean_sum - normal * mean_moved);
    }
  }
}

#define POLYSCENE_BY_ACT(call)                          \
  if (act == Act::kRelu) return call(Act::kRelu);       \
  if (act == Act::kLeaky) return call(Act::kLeaky);     \
  if (act == Act::kTanh) return call(Act::kTanh);       \
  if (act == Act::kSigmoid) return call(Act::kSigmoid); \
  call(Act::kIdentity)

#define POLYSCENE_LAYER_NORM_KERNELS(T)                                                                             \
  POLYSCENE_SIMD void normalise_of(Act act, const T* z, const T* scale, const T* shift, T* y, T* mean, T* inverse,  \
                                   int64_t rows, int64_t experts, int64_t columns, T eps) {                         \
    POLYSCENE_BY_ACT(POLYSCENE_NORMALISE);                                                                          \
  }                                                                                                                 \
  POLYSCENE_SIMD void denormalise_of(Act act, const T* dy, const T* y, const T* z, const T* mean, const T* inverse, \
                                     const T* scale, T* dz, T* dscale, T* dshift, int64_t rows, int64_t experts,    \
                                     int64_t columns) {                                                             \
    POLYSCENE_BY_ACT(POLYSCENE_DENORMALISE);                                                                        \
  }
#define POLYSCENE_NORMALISE(kind) normalise<kind>(z, scale, shift, y, mean, inverse, rows, experts, columns, eps)
#define POLYSCENE_DENORMALISE(kind) \
  denormalise<kind>(dy, y, z, mean, inverse, scale, dz, dscale, dshift, rows, experts, columns)

POLYSCENE_LAYER_NORM_KERNELS(float)
POLYSCENE_LAYER_NORM_KERNELS(double)
#undef POLYSCENE_LAYER_NORM_KERNELS
#undef POLYSCENE_NORMALISE
#undef POLYSCENE_DENORMALISE
#undef POLYSCENE_BY_ACT

class LayerNormActivation : public torch::autograd::Function<LayerNormActivation> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& z, const Tensor& scale,
                        const Tensor& shift, Act act, double eps, const std::vector<int64_t>& offsets) {
    const auto experts = z.size(1), columns = z.size(2), width = experts * columns;
    auto y = torch::empty_like(z), mean = torch::empty({z.size(0), experts}, z.options());
    auto inverse = torch::empty_like(mean);
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "layer_norm_activation", [&] {
      const auto *from = z.const_data_ptr<scalar_t>(), *times = scale.const_data_ptr<scalar_t>(),
                 *plus = shift.const_data_ptr<scalar_t>();
      auto *to = y.data_ptr<scalar_t>(), *centre = mean.data_ptr<scalar_t>(), *spread = inverse.data_ptr<scalar_t>();
      run(tasks_of(offsets), [&](int64_t, const Task& task) {
        normalise_of(act, from + task.begin * width, times + task.scene * width, plus + task.scene * width,
                     to + task.begin * width, centre + task.begin * experts, spread + task.begin * experts,
                     task.end - task.begin, experts, columns, static_cast<scalar_t>(eps));
      });
    });
    ctx->save_for_backward({z, y, mean, inverse, scale});
    ctx->saved_data["offsets"] = offsets;
    ctx->saved_data["act"] = static_cast<int64_t>(act);
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "layer_norm_activation: derivatives of higher order need a forward under PlainGuard");
    const auto saved = ctx->get_saved_variables();
    const auto &z = saved[0], &y = saved[1], &mean = saved[2], &inverse = saved[3], &scale = saved[4];
    const auto tasks = tasks_of(ctx->saved_data["offsets"].toIntVector());
    const auto act = static_cast<Act>(ctx->saved_data["act"].toInt());
    const auto experts = z.size(1), columns = z.size(2), width = experts * columns;
    const auto dy = grads[0].contiguous();
    auto dz = torch::empty_like(z), dscale = torch::zeros_like(scale), dshift = torch::zeros_like(scale);
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "layer_norm_activation_backward", [&] {
      const auto *g = dy.const_data_ptr<scalar_t>(), *out = y.const_data_ptr<scalar_t>(),
                 *in = z.const_data_ptr<scalar_t>(), *times = scale.const_data_ptr<scalar_t>();
      const auto *centre = mean.const_data_ptr<scalar_t>(), *spread = inverse.const_data_ptr<scalar_t>();
      auto* to = dz.data_ptr<scalar_t>();
      std::vector<scalar_t> sums(2 * width * tasks.size(), 0);
      run(tasks, [&](int64_t t, const Task& task) {
        const auto at = task.begin * width;
        auto* mine = sums.data() + 2 * width * t;
        denormalise_of(act, g + at, out + at, in + at, centre + task.begin * experts, spread + task.begin * experts,
                       times + task.scene * width, to + at, mine, mine + width, task.end - task.begin, experts,
                       columns);
      });
      for (size_t t = 0; t < tasks.size(); ++t) {
        const auto* mine = sums.data() + 2 * width * t;
        auto* to_scale = dscale.data_ptr<scalar_t>() + tasks[t].scene * width;
        auto* to_shift = dshift.data_ptr<scalar_t>() + tasks[t].scene * width;
        for (int64_t c = 0; c < width; ++c) to_scale[c] += mine[c];
        for (int64_t c = 0; c < width; ++c) to_shift[c] += mine[width + c];
      }
    });
    return {dz, dscale, dshift, Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor layer_norm_activation(const Tensor& z, const Tensor& scale, const Tensor& shift, const std::string& activation,
                             const SceneGroups& groups, double eps) {
  TORCH_CHECK_VALUE(z.dim() == 3 && z.size(0) == groups.rows() && z.size(1) > 0 && z.size(2) > 0,
                    "layer_norm_activation: z must be [", groups.rows(), ", E, O], got ", z.sizes());
  for (const auto& [name, tensor] : {std::pair{"scale", scale}, {"shift", shift}}) {
    TORCH_CHECK_VALUE(tensor.sizes() == at::IntArrayRef({groups.scenes(), z.size(1), z.size(2)}),
                      "layer_norm_activation: ", name, " must be [", groups.scenes(), ", ", z.size(1), ", ", z.size(2),
                      "], got ", tensor.sizes());
  }
  const auto act = find_act(activation);
  if (act && plain({z, scale, shift})) {
    return LayerNormActivation::apply(z.contiguous(), scale.contiguous(), shift.contiguous(), *act, eps,
                                      groups.offsets);
  }
  const auto normal = torch::layer_norm(z, {z.size(2)}, {}, {}, eps);
  std::vector<Tensor> pieces;
  for (int64_t s = 0; s < groups.scenes(); ++s) {
    pieces.push_back(normal.narrow(0, groups.offsets[s], groups.rows(s)) * scale[s] + shift[s]);
  }
  return activate(activation, torch::cat(pieces, 0));
}

}  // namespace polyscene::nn
