#include "polyscene/nn/graph_attention.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/interleave.h"
#include "polyscene/nn/drop_places.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kPiece = 64;  // rows that a thread takes at a time

struct Sizes {
  int64_t heads, width;
  double slope, dropout;
  uint64_t seed;
};

// What an edge's share is multiplied with in a head: 0 when it is dropped.
template <typename T>
POLYSCENE_INLINE T kept(const Sizes& size, int64_t edge, int64_t head) {
  if (size.dropout == 0) return 1;
  const auto place = edge * size.heads + head;
  const DropPiece piece(size.seed, place, size.dropout);
  return mixed(piece.from, piece.one, piece.other) < piece.below ? T(0) : static_cast<T>(1 / (1 - size.dropout));
}

template <typename T>
struct Arrays {
  const int64_t* offsets;
  const int32_t* columns;
  const T *x, *to, *from;
};

template <typename T>
POLYSCENE_INLINE void attend(const Arrays<T>& in, const Sizes& size, T* share, T* out, int64_t begin, int64_t end) {
  const auto H = size.heads, C = size.width;
  for (auto i = begin; i < end; ++i) {
    std::fill(out + i * H * C, out + (i + 1) * H * C, T(0));
    const auto first = in.offsets[i], last = in.offsets[i + 1];
    for (int64_t h = 0; h < H; ++h) {
      T most = -std::numeric_limits<T>::infinity(), sum = 0;
      for (auto e = first; e < last; ++e) {
        const T z = in.to[i * H + h] + in.from[in.columns[e] * H + h];
        share[e * H + h] = z > 0 ? z : static_cast<T>(size.slope) * z;
        most = std::max(most, share[e * H + h]);
      }
      for (auto e = first; e < last; ++e) sum += share[e * H + h] = std::exp(share[e * H + h] - most);
      for (auto e = first; e < last; ++e) {
        share[e * H + h] /= sum;
        const T w = share[e * H + h] * kept<T>(size, e, h);
        const T* from = in.x + (in.columns[e] * H + h) * C;
        T* to = out + (i * H + h) * C;
        for (int64_t c = 0; c < C; ++c) to[c] += w * from[c];
      }
    }
  }
}

// Gradients by the sums of an edge's two numbers, [n, H], and by `to`.
template <typename T>
POLYSCENE_INLINE void attend_back(const Arrays<T>& in, const Sizes& size, const T* share, const T* g, T* by_edge,
                                  T* by_to, int64_t begin, int64_t end) {
  const auto H = size.heads, C = size.width;
  for (auto i = begin; i < end; ++i) {
    for (int64_t h = 0; h < H; ++h) {
      T mean = 0, sum = 0;
      for (auto e = in.offsets[i]; e < in.offsets[i + 1]; ++e) {
        const T *from = in.x + (in.columns[e] * H + h) * C, *to = g + (i * H + h) * C;
        T dot = 0;
        for (int64_t c = 0; c < C; ++c) dot += to[c] * from[c];
        by_edge[e * H + h] = dot * kept<T>(size, e, h);
        mean += share[e * H + h] * by_edge[e * H + h];
      }
      for (auto e = in.offsets[i]; e < in.offsets[i + 1]; ++e) {
        const T z = in.to[i * H + h] + in.from[in.columns[e] * H + h];
        by_edge[e * H + h] =
            share[e * H + h] * (by_edge[e * H + h] - mean) * (z > 0 ? T(1) : static_cast<T>(size.slope));
        sum += by_edge[e * H + h];
      }
      by_to[i * H + h] = sum;
    }
  }
}

// Gradients by `from` and x of the nodes [begin, end), over the edges that gather them.
template <typename T>
POLYSCENE_INLINE void attended_back(const int64_t* offsets, const int32_t* rows, const int64_t* edge, const Sizes& size,
                                    const T* share, const T* g, const T* by_edge, T* by_from, T* by_x, int64_t begin,
                                    int64_t end) {
  const auto H = size.heads, C = size.width;
  std::fill(by_from + begin * H, by_from + end * H, T(0));
  std::fill(by_x + begin * H * C, by_x + end * H * C, T(0));
  for (auto j = begin; j < end; ++j) {
    for (auto b = offsets[j]; b < offsets[j + 1]; ++b) {
      for (int64_t h = 0; h < H; ++h) {
        by_from[j * H + h] += by_edge[edge[b] * H + h];
        const T w = share[edge[b] * H + h] * kept<T>(size, edge[b], h);
        const T* from = g + (rows[b] * H + h) * C;
        T* to = by_x + (j * H + h) * C;
        for (int64_t c = 0; c < C; ++c) to[c] += w * from[c];
      }
    }
  }
}

#define POLYSCENE_ATTENTION_KERNELS(T)                                                                               \
  POLYSCENE_SIMD void attend_of(const Arrays<T>& in, const Sizes& size, T* share, T* out, int64_t begin,             \
                                int64_t end) {                                                                       \
    attend(in, size, share, out, begin, end);                                                                        \
  }                                                                                                                  \
  POLYSCENE_SIMD void attend_back_of(const Arrays<T>& in, const Sizes& size, const T* share, const T* g, T* by_edge, \
                                     T* by_to, int64_t begin, int64_t end) {                                         \
    attend_back(in, size, share, g, by_edge, by_to, begin, end);                                                     \
  }                                                                                                                  \
  POLYSCENE_SIMD void attended_back_of(const int64_t* offsets, const int32_t* rows, const int64_t* edge,             \
                                       const Sizes& size, const T* share, const T* g, const T* by_edge, T* by_from,  \
                                       T* by_x, int64_t begin, int64_t end) {                                        \
    attended_back(offsets, rows, edge, size, share, g, by_edge, by_from, by_x, begin, end);                          \
  }
POLYSCENE_ATTENTION_KERNELS(float)
POLYSCENE_ATTENTION_KERNELS(double)

struct Held : torch::CustomClassHolder {
  Held(std::shared_ptr<const Edges> edges_, Sizes size_) : edges(std::move(edges_)), size(size_) {}
  std::shared_ptr<const Edges> edges;
  Sizes size;
};

template <typename T>
Arrays<T> arrays(const Edges& edges, const Tensor& x, const Tensor& to, const Tensor& from) {
  return {edges.offsets.const_data_ptr<int64_t>(), edges.columns.const_data_ptr<int32_t>(), x.const_data_ptr<T>(),
          to.const_data_ptr<T>(), from.const_data_ptr<T>()};
}

class EdgeAttention : public torch::autograd::Function<EdgeAttention> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& to,
                        const Tensor& from, const std::shared_ptr<const Edges>& edges, const Sizes& size) {
    const auto nodes = x.size(0);
    auto share = torch::empty({edges->columns.numel(), size.heads}, x.options());
    auto out = torch::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "graph_attention", [&] {
      const auto in = arrays<scalar_t>(*edges, x, to, from);
      auto *p = share.data_ptr<scalar_t>(), *y = out.data_ptr<scalar_t>();
      interleaved_for(nodes, kPiece, [&](int64_t begin, int64_t end) { attend_of(in, size, p, y, begin, end); });
    });
    context->save_for_backward({x, to, from, share});
    context->saved_data["held"] = torch::IValue::make_capsule(c10::make_intrusive<Held>(edges, size));
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(), "graph_attention: has no derivatives of higher order");
    const auto held = c10::static_intrusive_pointer_cast<Held>(context->saved_data["held"].toCapsule());
    const auto& edges = *held->edges;
    const auto& size = held->size;
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &to = saved[1], &from = saved[2], &share = saved[3];
    const auto given = gradients[0].contiguous();
    auto by_x = torch::empty_like(x), by_to = torch::empty_like(to), by_from = torch::empty_like(from);
    auto by_edge = torch::empty_like(share);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "graph_attention_back", [&] {
      const auto in = arrays<scalar_t>(edges, x, to, from);
      const auto *p = share.const_data_ptr<scalar_t>(), *g = given.const_data_ptr<scalar_t>();
      auto *e = by_edge.data_ptr<scalar_t>(), *t = by_to.data_ptr<scalar_t>();
      interleaved_for(x.size(0), kPiece,
                      [&](int64_t begin, int64_t end) { attend_back_of(in, size, p, g, e, t, begin, end); });
      const auto* offsets = edges.back_offsets.const_data_ptr<int64_t>();
      const auto* rows = edges.back_rows.const_data_ptr<int32_t>();
      const auto* edge = edges.back_edge.const_data_ptr<int64_t>();
      auto *f = by_from.data_ptr<scalar_t>(), *d = by_x.data_ptr<scalar_t>();
      interleaved_for(x.size(0), kPiece, [&](int64_t begin, int64_t end) {
        attended_back_of(offsets, rows, edge, size, p, g, e, f, d, begin, end);
      });
    });
    return {by_x, by_to, by_from, {}, {}};
  }
};

}  // namespace

Edges::Edges(const SparseMatrix& matrix) : offsets(matrix.offsets()), columns(matrix.indices()) {
  TORCH_CHECK_VALUE(matrix.rows() == matrix.columns(), "Edges: the matrix must be square, got [", matrix.rows(), ", ",
                    matrix.columns(), "]");
  back_edge = columns.argsort(/*stable=*/true, 0, /*descending=*/false);
  back_rows = torch::arange(matrix.rows(), torch::kInt32).repeat_interleave(offsets.diff()).index_select(0, back_edge);
  back_offsets = torch::zeros({matrix.rows() + 1}, torch::kInt64);
  back_offsets.slice(0, 1).copy_(torch::bincount(columns, {}, matrix.rows()).cumsum(0));
}

Tensor graph_attention(const std::shared_ptr<const Edges>& edges, const Tensor& x, const Tensor& to, const Tensor& from,
                       double slope, double dropout, bool training) {
  const auto nodes = edges->offsets.numel() - 1;
  TORCH_CHECK_VALUE(x.dim() == 3 && x.size(0) == nodes, "graph_attention: x must be [", nodes, ", H, C], got ",
                    x.sizes());
  TORCH_CHECK_VALUE(to.sizes() == x.sizes().slice(0, 2) && from.sizes() == to.sizes(),
                    "graph_attention: to and from must be [", nodes, ", ", x.size(1), "], got ", to.sizes(), " and ",
                    from.sizes());
  TORCH_CHECK_VALUE(dropout >= 0 && dropout < 1, "graph_attention: dropout must lie in [0, 1), got ", dropout);
  const auto type = x.scalar_type();
  TORCH_CHECK_TYPE((type == torch::kFloat32 || type == torch::kFloat64) && to.scalar_type() == type &&
                       from.scalar_type() == type && x.device().is_cpu(),
                   "graph_attention: x, to and from must be all float32 or all float64 on the CPU, got ", type, ", ",
                   to.scalar_type(), " and ", from.scalar_type());
  const bool drops = training && dropout > 0;
  const Sizes size{x.size(1), x.size(2), slope, drops ? dropout : 0,
                   drops ? static_cast<uint64_t>(draw_drop_seed()) : 0};
  return EdgeAttention::apply(x.contiguous(), to.contiguous(), from.contiguous(), edges, size);
}

}  // namespace polyscene::nn
