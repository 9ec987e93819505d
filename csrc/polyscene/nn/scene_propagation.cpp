#include "polyscene/nn/scene_propagation.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "polyscene/nn/drop_places.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/plain.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kShare = 1 << 14;  // elements a task
constexpr int64_t kAhead = 8;        // rows that are on their way while one is added

// y = drop(r x + s + s x)
template <typename T>
POLYSCENE_INLINE void combine(const T* x, const T* s, T* y, int64_t count, const DropPiece& piece, T scale, T r) {
  const auto [one, other, from, below] = piece;
#pragma GCC ivdep
  for (uint32_t i = 0; i < static_cast<uint32_t>(count); ++i) {
    y[i] = mixed(from + i, one, other) < below ? T(0) : (r * x[i] + s[i] * (1 + x[i])) * scale;
  }
}

// From g, the gradient by y: that by s into ds, and the direct part of that by x into g itself.
template <typename T>
POLYSCENE_INLINE void combine_back(const T* x, const T* s, T* g, T* ds, int64_t count, const DropPiece& piece, T scale,
                                   T r) {
  const auto [one, other, from, below] = piece;
#pragma GCC ivdep
  for (uint32_t i = 0; i < static_cast<uint32_t>(count); ++i) {
    const T kept = mixed(from + i, one, other) < below ? T(0) : g[i] * scale;
    ds[i] = kept * (1 + x[i]);
    g[i] = kept * (r + s[i]);
  }
}

#define POLYSCENE_COMBINE_KERNELS(T)                                                                                  \
  POLYSCENE_SIMD void combine_of(const T* x, const T* s, T* y, int64_t count, const DropPiece& piece, T scale, T r) { \
    combine(x, s, y, count, piece, scale, r);                                                                         \
  }                                                                                                                   \
  POLYSCENE_SIMD void combine_back_of(const T* x, const T* s, T* g, T* ds, int64_t count, const DropPiece& piece,     \
                                      T scale, T r) {                                                                 \
    combine_back(x, s, g, ds, count, piece, scale, r);                                                                \
  }
POLYSCENE_COMBINE_KERNELS(float)
POLYSCENE_COMBINE_KERNELS(double)

template <typename Body>
void in_shares(int64_t count, Body&& body) {
  at::parallel_for(0, (count + kShare - 1) / kShare, 1, [&](int64_t begin, int64_t end) {
    for (auto share = begin; share < end; ++share) {
      body(share * kShare, std::min(kShare, count - share * kShare));
    }
  });
}

uint64_t seed_of(int64_t seed, int64_t layer) {
  return static_cast<uint64_t>(seed) + 0x9e3779b97f4a7c15u * static_cast<uint64_t>(layer);
}

struct Step {
  Tensor gathered, out;  // S and X_{k + 1}
};

Step step(const SceneGraph& graph, const Propagation& how, const Tensor& x, int64_t layer, int64_t seed) {
  Step made{graph.edges->times(x), torch::empty_like(x)};
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "propagate", [&] {
    const auto *from = x.const_data_ptr<scalar_t>(), *s = made.gathered.const_data_ptr<scalar_t>();
    auto* y = made.out.data_ptr<scalar_t>();
    in_shares(x.numel(), [&](int64_t first, int64_t count) {
      combine_of(from + first, s + first, y + first, count, DropPiece(seed_of(seed, layer), first, how.dropout),
                 static_cast<scalar_t>(1 / (1 - how.dropout)), static_cast<scalar_t>(how.residual));
    });
  });
  if (graph.shared.numel() > 0) {
    made.out.index_copy_(0, graph.shared, graph.exchange->times(made.out.index_select(0, graph.shared)));
  }
  return made;
}

// g[rows[n]] += given[n, k] in the order of n: threads share out the columns, so that the bits do not depend on them.
void add_layer(Tensor& g, const Tensor& rows, const Tensor& given, int64_t k) {
  const auto count = rows.numel(), layers = given.size(1), width = given.size(2);
  const auto* row = rows.const_data_ptr<int64_t>();
  AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "add_layer", [&] {
    const auto* values = given.const_data_ptr<scalar_t>();
    auto* to = g.data_ptr<scalar_t>();
    at::parallel_for(0, width, std::max<int64_t>(16, kShare / std::max<int64_t>(1, count)),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t n = 0; n < count; ++n) {
                         if (n + kAhead < count) __builtin_prefetch(to + row[n + kAhead] * width + begin, 1);
                         const auto* value = values + (n * layers + k) * width;
                         auto* sum = to + row[n] * width;
                         for (auto d = begin; d < end; ++d) sum[d] += value[d];
                       }
                     });
  });
}

struct Held : torch::CustomClassHolder {
  Held(SceneGraph graph_, Propagation how_) : graph(std::move(graph_)), how(how_) {}
  SceneGraph graph;
  Propagation how;
};

class Propagated : public torch::autograd::Function<Propagated> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const SceneGraph& graph,
                        const Propagation& how, const Tensor& rows, int64_t seed) {
    auto out = torch::empty({rows.numel(), how.layers + 1, x.size(1)}, x.options());
    torch::autograd::variable_list saved = {rows};
    auto layer = x;
    for (int64_t k = 0; k <= how.layers; ++k) {
      out.select(1, k).copy_(layer.index_select(0, rows));
      if (k == how.layers) break;
      auto made = step(graph, how, layer, k, seed);
      saved.insert(saved.end(), {layer, made.gathered});
      layer = made.out;
    }
    context->save_for_backward(saved);
    context->saved_data["held"] = torch::IValue::make_capsule(c10::make_intrusive<Held>(graph, how));
    context->saved_data["seed"] = seed;
    context->saved_data["nodes"] = x.size(0);
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "propagate_to: derivatives of higher order need a forward under PlainGuard");
    const auto held = c10::static_intrusive_pointer_cast<Held>(context->saved_data["held"].toCapsule());
    const auto& [graph, how] = std::tie(held->graph, held->how);
    const auto saved = context->get_saved_variables();
    const auto seed = context->saved_data["seed"].toInt();
    const auto given = gradients[0].contiguous();  // [n, L + 1, D]
    auto g = torch::zeros({context->saved_data["nodes"].toInt(), given.size(2)}, given.options());
    add_layer(g, saved[0], given, how.layers);
    auto by_gathered = torch::empty_like(g);
    for (auto k = how.layers - 1; k >= 0; --k) {
      const auto &x = saved[1 + 2 * k], &gathered = saved[2 + 2 * k];
      if (graph.shared.numel() > 0) {
        g.index_copy_(0, graph.shared, graph.exchange->transposed_times(g.index_select(0, graph.shared)));
      }
      AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "propagate_back", [&] {
        const auto *from = x.const_data_ptr<scalar_t>(), *s = gathered.const_data_ptr<scalar_t>();
        auto *to = g.data_ptr<scalar_t>(), *ds = by_gathered.data_ptr<scalar_t>();
        in_shares(g.numel(), [&](int64_t first, int64_t count) {
          combine_back_of(from + first, s + first, to + first, ds + first, count,
                          DropPiece(seed_of(seed, k), first, how.dropout), static_cast<scalar_t>(1 / (1 - how.dropout)),
                          static_cast<scalar_t>(how.residual));
        });
      });
      graph.edges->add_transposed_times(by_gathered, g);
      add_layer(g, saved[0], given, k);
    }
    return {g, {}, {}, {}, {}};
  }
};

void check(const SceneGraph& graph, const Propagation& how, const Tensor& x) {
  TORCH_CHECK_VALUE(how.layers >= 0 && how.dropout >= 0 && how.dropout < 1,
                    "propagate_to: layers must be 0 or more and dropout in [0, 1), got ", how.layers, " and ",
                    how.dropout);
  TORCH_CHECK_VALUE(x.dim() == 2 && x.size(0) == graph.edges->rows() && graph.edges->rows() == graph.edges->columns(),
                    "propagate_to: x must be [", graph.edges->rows(), ", D], got ", x.sizes());
  TORCH_CHECK_VALUE(graph.exchange->rows() == graph.shared.numel() && graph.exchange->columns() == graph.shared.numel(),
                    "propagate_to: exchange must be square over the ", graph.shared.numel(), " shared rows, got [",
                    graph.exchange->rows(), ", ", graph.exchange->columns(), "]");
}

}  // namespace

Tensor propagate_to(const SceneGraph& graph, const Propagation& how, const Tensor& x, const Tensor& rows,
                    bool training) {
  check(graph, how, x);
  auto used = how;
  if (!training) used.dropout = 0;
  if (plain({x})) {
    return Propagated::apply(x.contiguous(), graph, used, rows, used.dropout > 0 ? draw_drop_seed() : 0);
  }
  std::vector<Tensor> layers = {x};
  for (int64_t k = 0; k < used.layers; ++k) {
    const auto& from = layers.back();
    const auto gathered = sparse_product(graph.edges, from);
    auto out = gathered * (1 + from);
    if (used.residual) out = out + from;
    out = drop(out, used.dropout, training);
    layers.push_back(
        out.index_copy(0, graph.shared, sparse_product(graph.exchange, out.index_select(0, graph.shared))));
  }
  for (auto& layer : layers) layer = layer.index_select(0, rows);
  return torch::stack(layers, 1);
}

std::vector<Tensor> propagate_all(const SceneGraph& graph, const Propagation& how, const Tensor& x) {
  check(graph, how, x);
  const torch::NoGradGuard no_grad;
  auto used = how;
  used.dropout = 0;
  std::vector<Tensor> out = {x.detach().contiguous()};
  for (int64_t k = 0; k < used.layers; ++k) out.push_back(step(graph, used, out.back(), k, 0).out);
  return out;
}

}  // namespace polyscene::nn
