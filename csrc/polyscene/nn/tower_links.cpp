#include "polyscene/nn/tower_links.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kLinkFloats = 32768;  // numbers a task
constexpr int64_t kColumnsAtOnce = 32;  // columns whose sums are held at once

struct Shape {
  int64_t each, towers, width;  // K, S, H
};

template <typename T>
POLYSCENE_INLINE void input(const T* base, const T* here, const T* there, const T* x, const T* y, T* z, int64_t users,
                            const Shape& shape) {
  const auto [each, towers, width] = shape;
  for (int64_t a = 0; a < users; ++a, base += towers * width, here += towers, there += towers) {
    for (int64_t k = 0; k < each; ++k, x += width, y += width) {
      for (int64_t s = 0; s < towers; ++s, z += width) {
        const T* from = base + s * width;
        for (int64_t h = 0; h < width; ++h) z[h] = from[h] + here[s] * x[h] + there[s] * y[h];
      }
    }
  }
}

// The results start as zeros.
template <typename T>
POLYSCENE_INLINE void input_back(const T* g, const T* here, const T* there, T* base, T* x, T* y, int64_t users,
                                 const Shape& shape) {
  const auto [each, towers, width] = shape;
  for (int64_t a = 0; a < users; ++a, base += towers * width, here += towers, there += towers) {
    for (int64_t k = 0; k < each; ++k, x += width, y += width) {
      for (int64_t s = 0; s < towers; ++s, g += width) {
        T* to = base + s * width;
        for (int64_t h = 0; h < width; ++h) {
          to[h] += g[h];
          x[h] += here[s] * g[h];
          y[h] += there[s] * g[h];
        }
      }
    }
  }
}

// body(first, count) on pieces of a width: short sums of them stay in registers, and loops along them are wide.
template <typename Body>
POLYSCENE_INLINE void in_pieces(int64_t width, Body&& body) {
  for (int64_t first = 0; first < width; first += kColumnsAtOnce) body(first, std::min(kColumnsAtOnce, width - first));
}

template <typename T>
POLYSCENE_INLINE void link(const T* z, const T* part, const T* share, T* out, int64_t users, const Shape& shape) {
  const auto [each, towers, width] = shape;
  for (int64_t a = 0; a < users; ++a, part += towers, share += towers) {
    for (int64_t k = 0; k < each; ++k, z += towers * width, out += 2 * towers * width) {
      in_pieces(
          width, [&](int64_t first, int64_t count) __attribute__((always_inline)) {
            T sum[kColumnsAtOnce] = {};
            for (int64_t s = 0; s < towers; ++s) {
              const T* from = z + s * width + first;
              T* own = out + 2 * s * width + first;
              for (int64_t h = 0; h < count; ++h) {
                own[h] = part[s] * std::max(from[h], T(0));
                sum[h] += own[h];
              }
            }
            for (int64_t s = 0; s < towers; ++s) {
              const T* own = out + 2 * s * width + first;
              T* sent = out + (2 * s + 1) * width + first;
              for (int64_t h = 0; h < count; ++h) sent[h] = share[s] * (sum[h] - own[h]);
            }
          });
    }
  }
}

// What a tower holds is above 0 just where the gradient passes: where z is and the tower takes part.
template <typename T>
POLYSCENE_INLINE void link_back(const T* g, const T* out, const T* share, T* z, int64_t users, const Shape& shape) {
  const auto [each, towers, width] = shape;
  const int64_t row = 2 * towers * width;
  for (int64_t a = 0; a < users; ++a, share += towers) {
    for (int64_t k = 0; k < each; ++k, g += row, out += row, z += towers * width) {
      in_pieces(
          width, [&](int64_t first, int64_t count) __attribute__((always_inline)) {
            T sum[kColumnsAtOnce] = {};
            for (int64_t s = 0; s < towers; ++s) {
              const T* by_sent = g + (2 * s + 1) * width + first;
              for (int64_t h = 0; h < count; ++h) sum[h] += share[s] * by_sent[h];
            }
            for (int64_t s = 0; s < towers; ++s) {
              const T *by_own = g + 2 * s * width + first, *by_sent = by_own + width,
                      *own = out + 2 * s * width + first;
              T* to = z + s * width + first;
              for (int64_t h = 0; h < count; ++h) {
                to[h] = own[h] > 0 ? by_own[h] + sum[h] - share[s] * by_sent[h] : T(0);
              }
            }
          });
    }
  }
}

#define POLYSCENE_LINK_KERNELS(T)                                                                                     \
  POLYSCENE_SIMD void input_of(const T* base, const T* here, const T* there, const T* x, const T* y, T* z,            \
                               int64_t users, const Shape& shape) {                                                   \
    input(base, here, there, x, y, z, users, shape);                                                                  \
  }                                                                                                                   \
  POLYSCENE_SIMD void input_back_of(const T* g, const T* here, const T* there, T* base, T* x, T* y, int64_t users,    \
                                    const Shape& shape) {                                                             \
    input_back(g, here, there, base, x, y, users, shape);                                                             \
  }                                                                                                                   \
  POLYSCENE_SIMD void link_of(const T* z, const T* part, const T* share, T* out, int64_t users, const Shape& shape) { \
    link(z, part, share, out, users, shape);                                                                          \
  }                                                                                                                   \
  POLYSCENE_SIMD void link_back_of(const T* g, const T* out, const T* share, T* z, int64_t users,                     \
                                   const Shape& shape) {                                                              \
    link_back(g, out, share, z, users, shape);                                                                        \
  }
POLYSCENE_LINK_KERNELS(float)
POLYSCENE_LINK_KERNELS(double)

template <typename Body>
void for_users(int64_t users, const Shape& shape, Body&& body) {
  const auto floats = std::max<int64_t>(1, shape.each * shape.towers * shape.width);
  at::parallel_for(0, users, kLinkFloats / floats + 1, body);
}

class LinkedInput : public torch::autograd::Function<LinkedInput> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& base, const Tensor& here, const Tensor& there,
                        const Tensor& x, const Tensor& y) {
    const auto users = base.size(0);
    const Shape shape{x.size(0) / users, base.size(1), base.size(2)};
    auto out = torch::empty({x.size(0), shape.towers, shape.width}, base.options());
    AT_DISPATCH_FLOATING_TYPES(base.scalar_type(), "linked_input", [&] {
      const auto *from = base.const_data_ptr<scalar_t>(), *own = here.const_data_ptr<scalar_t>(),
                 *others = there.const_data_ptr<scalar_t>(), *one = x.const_data_ptr<scalar_t>(),
                 *two = y.const_data_ptr<scalar_t>();
      auto* to = out.data_ptr<scalar_t>();
      const auto row = shape.towers * shape.width;
      for_users(users, shape, [&](int64_t begin, int64_t end) {
        const auto item = begin * shape.each;
        input_of(from + begin * row, own + begin * shape.towers, others + begin * shape.towers,
                 one + item * shape.width, two + item * shape.width, to + item * row, end - begin, shape);
      });
    });
    context->save_for_backward({here, there});
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    TORCH_CHECK_NOT_IMPLEMENTED(!torch::GradMode::is_enabled(),
                                "linked_input: derivatives of higher order need a forward under PlainGuard");
    const auto saved = context->get_saved_variables();
    const auto &here = saved[0], &there = saved[1];
    const auto g = gradients[0].contiguous();
    const auto users = here.size(0);
    const Shape shape{g.size(0) / users, g.size(1), g.size(2)};
    auto base = torch::zeros({users, shape.towers, shape.width}, g.options());
    auto x = torch::zeros({g.size(0), shape.width}, g.options()), y = torch::zeros_like(x);
    AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "linked_input_backward", [&] {
      const auto *from = g.const_data_ptr<scalar_t>(), *own = here.const_data_ptr<scalar_t>(),
                 *others = there.const_data_ptr<scalar_t>();
      auto *to = base.data_ptr<scalar_t>(), *one = x.data_ptr<scalar_t>(), *two = y.data_ptr<scalar_t>();
      const auto row = shape.towers * shape.width;
      for_users(users, shape, [&](int64_t begin, int64_t end) {
        const auto item = begin * shape.each;
        input_back_of(from + item * row, own + begin * shape.towers, others + begin * shape.towers, to + begin * row,
                      one + item * shape.width, two + item * shape.width, end - begin, shape);
      });
    });
    return {base, {}, {}, x, y};
  }
};

class Linked : public torch::autograd::Function<Linked> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& z, const Tensor& part, const Tensor& share) {
    const auto users = part.size(0);
    const Shape shape{z.size(0) / users, z.size(1), z.size(2)};
    auto out = torch::empty({z.size(0), shape.towers, 2 * shape.width}, z.options());
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "linked", [&] {
      const auto *from = z.const_data_ptr<scalar_t>(), *there = part.const_data_ptr<scalar_t>(),
                 *by = share.const_data_ptr<scalar_t>();
      auto* to = out.data_ptr<scalar_t>();
      const auto row = shape.each * shape.towers * shape.width;
      for_users(users, shape, [&](int64_t begin, int64_t end) {
        link_of(from + begin * row, there + begin * shape.towers, by + begin * shape.towers, to + 2 * begin * row,
                end - begin, shape);
      });
    });
    context->save_for_backward({out, share});
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    TORCH_CHECK_NOT_IMPLEMENTED(!torch::GradMode::is_enabled(),
                                "linked: derivatives of higher order need a forward under PlainGuard");
    const auto saved = context->get_saved_variables();
    const auto &out = saved[0], &share = saved[1];
    const auto g = gradients[0].contiguous();
    const auto users = share.size(0);
    const Shape shape{g.size(0) / users, g.size(1), g.size(2) / 2};
    auto z = torch::empty({g.size(0), shape.towers, shape.width}, g.options());
    AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "linked_backward", [&] {
      const auto *from = g.const_data_ptr<scalar_t>(), *own = out.const_data_ptr<scalar_t>(),
                 *by = share.const_data_ptr<scalar_t>();
      auto* to = z.data_ptr<scalar_t>();
      const auto row = shape.each * shape.towers * shape.width;
      for_users(users, shape, [&](int64_t begin, int64_t end) {
        link_back_of(from + 2 * begin * row, own + 2 * begin * row, by + begin * shape.towers, to + begin * row,
                     end - begin, shape);
      });
    });
    return {z, {}, {}};
  }
};

Tensor for_items(const Tensor& of_users, int64_t items) {
  return of_users.repeat_interleave(items / std::max<int64_t>(1, of_users.size(0)), 0).unsqueeze(2);  // [A K, S, 1]
}

bool fits(const Tensor& of_users, int64_t items, int64_t towers) {
  return of_users.dim() == 2 && of_users.size(1) == towers &&
         (of_users.size(0) > 0 ? items % of_users.size(0) == 0 : items == 0);
}

}  // namespace

Tensor linked_input(const Tensor& base, const Tensor& here, const Tensor& there, const Tensor& x, const Tensor& y) {
  TORCH_CHECK_VALUE(base.dim() == 3 && x.dim() == 2 && x.sizes() == y.sizes() && x.size(1) == base.size(2) &&
                        here.sizes() == there.sizes() && here.size(0) == base.size(0) &&
                        fits(here, x.size(0), base.size(1)),
                    "linked_input: base must be [A, S, H], here and there [A, S], x and y [A K, H], got ", base.sizes(),
                    ", ", here.sizes(), ", ", there.sizes(), ", ", x.sizes(), " and ", y.sizes());
  if (plain({base, here, there, x, y}) && base.size(0) > 0) {
    return LinkedInput::apply(base.contiguous(), here.contiguous(), there.contiguous(), x.contiguous(), y.contiguous());
  }
  const auto each = base.size(0) > 0 ? x.size(0) / base.size(0) : 1;
  return base.repeat_interleave(each, 0) + for_items(here, x.size(0)) * x.unsqueeze(1) +
         for_items(there, x.size(0)) * y.unsqueeze(1);
}

Tensor linked(const Tensor& z, const Tensor& part, const Tensor& share) {
  TORCH_CHECK_VALUE(z.dim() == 3 && part.sizes() == share.sizes() && fits(part, z.size(0), z.size(1)),
                    "linked: z must be [A K, S, H], part and share [A, S], got ", z.sizes(), ", ", part.sizes(),
                    " and ", share.sizes());
  if (plain({z, part, share}) && z.size(0) > 0) {
    return Linked::apply(z.contiguous(), part.contiguous(), share.contiguous());
  }
  const auto own = z.relu() * for_items(part, z.size(0));
  return torch::cat({own, (own.sum(1, /*keepdim=*/true) - own) * for_items(share, z.size(0))}, 2);
}

}  // namespace polyscene::nn
