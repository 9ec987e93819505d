#include "polyscene/nn/norm_activation.h"

#include <cmath>

#include "polyscene/nn/activation_kernels.h"
#include "polyscene/nn/mlp.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

// GCC checks few pairs of pointers for overlap and leaves loops over more of them scalar: ivdep says there is none.

// sum += x - origin and squares += (x - origin)^2, column by column: no cancellation where the mean is far from 0.
template <typename T>
POLYSCENE_INLINE void moments(const T* x, const T* origin, T* sum, T* squares, int64_t rows, int64_t columns) {
  for (int64_t b = 0; b < rows; ++b, x += columns) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) {
      const T d = x[c] - origin[c];
      sum[c] += d;
      squares[c] += d * d;
    }
  }
}

template <Act act, typename T>
POLYSCENE_INLINE void forward_rows(const T* z, const T* scale, const T* shift, T* y, int64_t rows, int64_t columns) {
  for (int64_t b = 0; b < rows; ++b, z += columns, y += columns) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) y[c] = activated(z[c] * scale[c] + shift[c], act);
  }
}

// grad += dy act'(y) and moved += dy act'(y) (z - mean) / std.
template <Act act, typename T>
POLYSCENE_INLINE void backward_sums(const T* dy, const T* y, const T* z, const T* mean, const T* inverse, T* grad,
                                    T* moved, int64_t rows, int64_t columns) {
  for (int64_t b = 0; b < rows; ++b, dy += columns, y += columns, z += columns) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) {
      const T g = dy[c] * slope(y[c], act);
      grad[c] += g;
      moved[c] += g * ((z[c] - mean[c]) * inverse[c]);
    }
  }
}

// dz = scale (g - grad - xhat moved): scale is gamma / std, grad and moved are means over the scene's rows.
template <Act act, typename T>
POLYSCENE_INLINE void backward_rows(const T* dy, const T* y, const T* z, const T* mean, const T* inverse,
                                    const T* scale, const T* grad, const T* moved, T* dz, int64_t rows,
                                    int64_t columns) {
  for (int64_t b = 0; b < rows; ++b, dy += columns, y += columns, z += columns, dz += columns) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) {
      const T g = dy[c] * slope(y[c], act);
      dz[c] = scale[c] * (g - grad[c] - (z[c] - mean[c]) * inverse[c] * moved[c]);
    }
  }
}

// Without a norm: dz = dy act'(y), and grad += dz.
template <Act act, typename T>
POLYSCENE_INLINE void bias_back(const T* dy, const T* y, T* grad, T* dz, int64_t rows, int64_t columns) {
  for (int64_t b = 0; b < rows; ++b, dy += columns, y += columns, dz += columns) {
#pragma GCC ivdep
    for (int64_t c = 0; c < columns; ++c) {
      dz[c] = dy[c] * slope(y[c], act);
      grad[c] += dz[c];
    }
  }
}

// One clone for each processor generation; the activation is chosen outside of the loops.
#define POLYSCENE_NORM_KERNELS(T)                                                                                     \
  POLYSCENE_SIMD void moments_of(const T* x, const T* origin, T* sum, T* squares, int64_t rows, int64_t columns) {    \
    moments(x, origin, sum, squares, rows, columns);                                                                  \
  }                                                                                                                   \
  POLYSCENE_SIMD void forward_of(Act act, const T* z, const T* scale, const T* shift, T* y, int64_t rows,             \
                                 int64_t columns) {                                                                   \
    if (act == Act::kRelu) return forward_rows<Act::kRelu>(z, scale, shift, y, rows, columns);                        \
    if (act == Act::kLeaky) return forward_rows<Act::kLeaky>(z, scale, shift, y, rows, columns);                      \
    if (act == Act::kTanh) return forward_rows<Act::kTanh>(z, scale, shift, y, rows, columns);                        \
    if (act == Act::kSigmoid) return forward_rows<Act::kSigmoid>(z, scale, shift, y, rows, columns);                  \
    forward_rows<Act::kIdentity>(z, scale, shift, y, rows, columns);                                                  \
  }                                                                                                                   \
  POLYSCENE_SIMD void sums_of(Act act, const T* dy, const T* y, const T* z, const T* mean, const T* inverse, T* grad, \
                              T* moved, int64_t rows, int64_t columns) {                                              \
    if (act == Act::kRelu) return backward_sums<Act::kRelu>(dy, y, z, mean, inverse, grad, moved, rows, columns);     \
    if (act == Act::kLeaky) return backward_sums<Act::kLeaky>(dy, y, z, mean, inverse, grad, moved, rows, columns);   \
    if (act == Act::kTanh) return backward_sums<Act::kTanh>(dy, y, z, mean, inverse, grad, moved, rows, columns);     \
    if (act == Act::kSigmoid)                                                                                         \
      return backward_sums<Act::kSigmoid>(dy, y, z, mean, inverse, grad, moved, rows, columns);                       \
    backward_sums<Act::kIdentity>(dy, y, z, mean, inverse, grad, moved, rows, columns);                               \
  }                                                                                                                   \
  POLYSCENE_SIMD void backward_of(Act act, const T* dy, const T* y, const T* z, const T* mean, const T* inverse,      \
                                  const T* scale, const T* grad, const T* moved, T* dz, int64_t rows,                 \
                                  int64_t columns) {                                                                  \
    if (act == Act::kRelu)                                                                                            \
      return backward_rows<Act::kRelu>(dy, y, z, mean, inverse, scale, grad, moved, dz, rows, columns);               \
    if (act == Act::kLeaky)                                                                                           \
      return backward_rows<Act::kLeaky>(dy, y, z, mean, inverse, scale, grad, moved, dz, rows, columns);              \
    if (act == Act::kTanh)                                                                                            \
      return backward_rows<Act::kTanh>(dy, y, z, mean, inverse, scale, grad, moved, dz, rows, columns);               \
    if (act == Act::kSigmoid)                                                                                         \
      return backward_rows<Act::kSigmoid>(dy, y, z, mean, inverse, scale, grad, moved, dz, rows, columns);            \
    backward_rows<Act::kIdentity>(dy, y, z, mean, inverse, scale, grad, moved, dz, rows, columns);                    \
  }                                                                                                                   \
  POLYSCENE_SIMD void bias_back_of(Act act, const T* dy, const T* y, T* grad, T* dz, int64_t rows, int64_t columns) { \
    if (act == Act::kRelu) return bias_back<Act::kRelu>(dy, y, grad, dz, rows, columns);                              \
    if (act == Act::kLeaky) return bias_back<Act::kLeaky>(dy, y, grad, dz, rows, columns);                            \
    if (act == Act::kTanh) return bias_back<Act::kTanh>(dy, y, grad, dz, rows, columns);                              \
    if (act == Act::kSigmoid) return bias_back<Act::kSigmoid>(dy, y, grad, dz, rows, columns);                        \
    bias_back<Act::kIdentity>(dy, y, grad, dz, rows, columns);                                                        \
  }

POLYSCENE_NORM_KERNELS(float)
POLYSCENE_NORM_KERNELS(double)
#undef POLYSCENE_NORM_KERNELS

// Mean and 1 / std of the rows that each scene has normalised with, [S, C]; moves the running statistics.
template <typename T>
std::pair<Tensor, Tensor> statistics(const Tensor& z, const SceneNorm& norm, bool training,
                                     const std::vector<int64_t>& offsets) {
  const auto scenes = static_cast<int64_t>(offsets.size()) - 1, columns = z.size(1);
  auto mean = norm.running_mean.clone(torch::MemoryFormat::Contiguous);
  auto inverse = (norm.running_var + norm.eps).rsqrt().contiguous();
  if (!training) return {mean, inverse};
  const auto tasks = tasks_of(offsets);
  std::vector<T> sums(2 * columns * tasks.size(), 0);
  const auto* rows = z.const_data_ptr<T>();
  run(tasks, [&](int64_t t, const Task& task) {
    T* mine = sums.data() + 2 * columns * t;
    moments_of(rows + task.begin * columns, rows + offsets[task.scene] * columns, mine, mine + columns,
               task.end - task.begin, columns);
  });
  std::vector<double> total(2 * columns);
  for (int64_t s = 0, t = 0; s < scenes; ++s) {
    const auto count = static_cast<double>(offsets[s + 1] - offsets[s]);
    std::fill(total.begin(), total.end(), 0);
    for (; t < static_cast<int64_t>(tasks.size()) && tasks[t].scene == s; ++t) {
      const T* mine = sums.data() + 2 * columns * t;
      for (int64_t c = 0; c < 2 * columns; ++c) total[c] += mine[c];
    }
    if (count < 2) continue;
    const T* origin = rows + offsets[s] * columns;
    T* to_mean = mean.data_ptr<T>() + s * columns;
    T* to_inverse = inverse.data_ptr<T>() + s * columns;
    T* running_mean = norm.running_mean.data_ptr<T>() + s * columns;
    T* running_var = norm.running_var.data_ptr<T>() + s * columns;
    for (int64_t c = 0; c < columns; ++c) {
      const double centre = total[c] / count;
      const double var = std::max(0.0, total[columns + c] / count - centre * centre);
      to_mean[c] = static_cast<T>(origin[c] + centre);
      to_inverse[c] = static_cast<T>(1 / std::sqrt(var + norm.eps));
      running_mean[c] += static_cast<T>(norm.momentum * (to_mean[c] - running_mean[c]));
      running_var[c] += static_cast<T>(norm.momentum * (var * count / (count - 1) - running_var[c]));
    }
  }
  return {mean, inverse};
}

class NormActivation : public torch::autograd::Function<NormActivation> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& z, const Tensor& scale,
                        const Tensor& shift, const SceneNorm* norm, Act act, bool training,
                        const std::vector<int64_t>& offsets) {
    const auto columns = z.size(1);
    auto y = torch::empty_like(z);
    Tensor mean, inverse;
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "norm_activation", [&] {
      std::tie(mean, inverse) = statistics<scalar_t>(z, *norm, training, offsets);
      const auto times = (scale * inverse).contiguous(), plus = (shift - mean * times).contiguous();
      const auto* from = z.const_data_ptr<scalar_t>();
      auto* to = y.data_ptr<scalar_t>();
      run(tasks_of(offsets), [&](int64_t, const Task& task) {
        const auto at = task.begin * columns, of = task.scene * columns;
        forward_of(act, from + at, times.const_data_ptr<scalar_t>() + of, plus.const_data_ptr<scalar_t>() + of, to + at,
                   task.end - task.begin, columns);
      });
    });
    ctx->save_for_backward({z, y, mean, inverse, scale});
    ctx->saved_data["offsets"] = offsets;
    ctx->saved_data["act"] = static_cast<int64_t>(act);
    ctx->saved_data["training"] = training;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "norm_activation: derivatives of higher order need a forward under PlainGuard");
    const auto saved = ctx->get_saved_variables();
    const auto &z = saved[0], &y = saved[1], &mean = saved[2], &inverse = saved[3], &scale = saved[4];
    const auto offsets = ctx->saved_data["offsets"].toIntVector();
    const auto act = static_cast<Act>(ctx->saved_data["act"].toInt());
    const bool training = ctx->saved_data["training"].toBool();
    const auto scenes = static_cast<int64_t>(offsets.size()) - 1, columns = z.size(1);
    const auto dy = grads[0].contiguous();
    const auto tasks = tasks_of(offsets);
    auto grad = torch::zeros({scenes, columns}, z.options()), moved = torch::zeros({scenes, columns}, z.options());
    auto dz = torch::empty_like(z);
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "norm_activation_backward", [&] {
      const auto *g = dy.const_data_ptr<scalar_t>(), *out = y.const_data_ptr<scalar_t>(),
                 *in = z.const_data_ptr<scalar_t>();
      const auto *centre = mean.const_data_ptr<scalar_t>(), *spread = inverse.const_data_ptr<scalar_t>();
      std::vector<scalar_t> sums(2 * columns * tasks.size(), 0);
      run(tasks, [&](int64_t t, const Task& task) {
        const auto at = task.begin * columns, of = task.scene * columns;
        auto* mine = sums.data() + 2 * columns * t;
        sums_of(act, g + at, out + at, in + at, centre + of, spread + of, mine, mine + columns, task.end - task.begin,
                columns);
      });
      for (size_t t = 0; t < tasks.size(); ++t) {
        const auto* mine = sums.data() + 2 * columns * t;
        auto* to_grad = grad.data_ptr<scalar_t>() + tasks[t].scene * columns;
        auto* to_moved = moved.data_ptr<scalar_t>() + tasks[t].scene * columns;
        for (int64_t c = 0; c < columns; ++c) to_grad[c] += mine[c];
        for (int64_t c = 0; c < columns; ++c) to_moved[c] += mine[columns + c];
      }
      // Statistics of the batch move with every row; running ones do not, and stand for scenes of less than two rows.
      auto share = torch::zeros({scenes, 1}, z.options());
      for (int64_t s = 0; s < scenes; ++s) {
        const auto count = offsets[s + 1] - offsets[s];
        if (training && count >= 2) share[s] = 1.0 / static_cast<double>(count);
      }
      const auto mean_grad = grad * share, mean_moved = moved * share;
      const auto times = (scale * inverse).contiguous();
      run(tasks, [&](int64_t, const Task& task) {
        const auto at = task.begin * columns, of = task.scene * columns;
        backward_of(act, g + at, out + at, in + at, centre + of, spread + of, times.const_data_ptr<scalar_t>() + of,
                    mean_grad.const_data_ptr<scalar_t>() + of, mean_moved.const_data_ptr<scalar_t>() + of,
                    dz.data_ptr<scalar_t>() + at, task.end - task.begin, columns);
      });
    });
    return {dz, moved, grad, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

// act(z + bias), without a norm: z is not needed any more afterwards.
class BiasActivation : public torch::autograd::Function<BiasActivation> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& z, const std::optional<Tensor>& given_bias,
                        Act act, const std::vector<int64_t>& offsets) {
    const auto columns = z.size(1);
    const auto scenes = static_cast<int64_t>(offsets.size()) - 1;
    const auto ones = torch::ones({scenes, columns}, z.options());
    const auto bias = given_bias ? given_bias->contiguous() : torch::zeros({scenes, columns}, z.options());
    auto y = torch::empty_like(z);
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "bias_activation", [&] {
      const auto* from = z.const_data_ptr<scalar_t>();
      auto* to = y.data_ptr<scalar_t>();
      run(tasks_of(offsets), [&](int64_t, const Task& task) {
        const auto at = task.begin * columns, of = task.scene * columns;
        forward_of(act, from + at, ones.const_data_ptr<scalar_t>() + of, bias.const_data_ptr<scalar_t>() + of, to + at,
                   task.end - task.begin, columns);
      });
    });
    ctx->save_for_backward({y});
    ctx->saved_data["offsets"] = offsets;
    ctx->saved_data["act"] = static_cast<int64_t>(act);
    ctx->saved_data["bias"] = given_bias.has_value();
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "norm_activation: derivatives of higher order need a forward under PlainGuard");
    const auto y = ctx->get_saved_variables()[0];
    const auto offsets = ctx->saved_data["offsets"].toIntVector();
    const auto act = static_cast<Act>(ctx->saved_data["act"].toInt());
    const auto columns = y.size(1);
    const auto dy = grads[0].contiguous();
    const auto tasks = tasks_of(offsets);
    auto grad = torch::zeros({static_cast<int64_t>(offsets.size()) - 1, columns}, y.options());
    auto dz = torch::empty_like(y);
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "bias_activation_backward", [&] {
      const auto *g = dy.const_data_ptr<scalar_t>(), *out = y.const_data_ptr<scalar_t>();
      auto* to = dz.data_ptr<scalar_t>();
      std::vector<scalar_t> sums(columns * tasks.size(), 0);
      run(tasks, [&](int64_t t, const Task& task) {
        const auto at = task.begin * columns;
        bias_back_of(act, g + at, out + at, sums.data() + t * columns, to + at, task.end - task.begin, columns);
      });
      for (size_t t = 0; t < tasks.size(); ++t) {
        const auto* mine = sums.data() + columns * t;
        auto* to_grad = grad.data_ptr<scalar_t>() + tasks[t].scene * columns;
        for (int64_t c = 0; c < columns; ++c) to_grad[c] += mine[c];
      }
    });
    return {dz, ctx->saved_data["bias"].toBool() ? grad : Tensor(), Tensor(), Tensor()};
  }
};

// The same by operators that autograd knows.
Tensor by_operators(const Tensor& z, const Tensor& bias, const SceneNorm& norm, const std::string& activation,
                    bool training, const SceneGroups& groups) {
  std::vector<Tensor> out;
  for (int64_t s = 0; s < groups.scenes(); ++s) {
    auto x = z.narrow(0, groups.offsets[s], groups.rows(s));
    if (bias.defined()) x = x + bias[s];
    if (norm.scale.defined()) {
      x = torch::batch_norm(x, norm.scale[s], norm.shift[s], norm.running_mean[s], norm.running_var[s],
                            training && groups.rows(s) > 1, norm.momentum, norm.eps, /*cudnn_enabled=*/false);
    }
    out.push_back(activate(activation, x));
  }
  return torch::cat(out, 0);
}

}  // namespace

Tensor norm_activation(const Tensor& z, const Tensor& bias, const SceneNorm& norm, const std::string& activation,
                       bool training, const SceneGroups& groups) {
  TORCH_CHECK_VALUE(z.dim() == 2 && z.size(0) == groups.rows(), "norm_activation: z must be [", groups.rows(),
                    ", C], got ", z.sizes());
  TORCH_CHECK_VALUE(!bias.defined() || !norm.scale.defined(), "norm_activation: give a bias or a norm, not both");
  for (const auto& [name, tensor] : {std::pair{"bias", bias}, {"scale", norm.scale}}) {
    TORCH_CHECK_VALUE(
        !tensor.defined() || (tensor.dim() == 2 && tensor.size(0) == groups.scenes() && tensor.size(1) == z.size(1)),
        "norm_activation: ", name, " must be [", groups.scenes(), ", ", z.size(1), "], got ",
        tensor.defined() ? tensor.sizes() : at::IntArrayRef());
  }
  const auto act = find_act(activation);
  if (act && plain({z, bias, norm.scale, norm.shift, norm.running_mean, norm.running_var})) {
    if (!norm.scale.defined()) return BiasActivation::apply(z.contiguous(), given(bias), *act, groups.offsets);
    return NormActivation::apply(z.contiguous(), norm.scale, norm.shift, &norm, *act, training, groups.offsets);
  }
  return by_operators(z, bias, norm, activation, training, groups);
}

}  // namespace polyscene::nn
