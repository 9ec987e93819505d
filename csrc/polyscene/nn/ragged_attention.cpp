#include "polyscene/nn/ragged_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "polyscene/nn/dot.h"
#include "polyscene/nn/drop_places.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"
#include "polyscene/nn/vector_exp.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

// What one head of one sequence of n events reads and writes: rows of the given widths.
template <typename T>
struct Head {
  const T *q, *k, *v;
  int64_t n, d, q_row, kv_row;
  bool causal;
  T scale;
  double dropout;
  uint64_t seed;
  int64_t first;  // place of its first weight among all

  POLYSCENE_INLINE int64_t keys(int64_t i) const { return causal ? i + 1 : n; }
};

// [n, d] with rows `row` apart to [d, n].
template <typename T>
POLYSCENE_INLINE void transpose(const T* from, int64_t row, int64_t n, int64_t d, T* to) {
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t c = 0; c < d; ++c) to[c * n + j] = from[j * row + c];
  }
}

// to[0 .. m) = sum_c x[c] columns[c, 0 .. m)
template <typename T>
POLYSCENE_INLINE void mix(const T* x, const T* columns, int64_t n, int64_t d, int64_t m, T factor, T* to) {
  std::fill(to, to + m, T(0));
  for (int64_t c = 0; c < d; ++c) {
    const T one = x[c] * factor;
    const T* column = columns + c * n;
#pragma GCC ivdep
    for (int64_t j = 0; j < m; ++j) to[j] += one * column[j];
  }
}

// to += one * x
template <typename T>
POLYSCENE_INLINE void add(T one, const T* x, int64_t d, T* to) {
#pragma GCC ivdep
  for (int64_t c = 0; c < d; ++c) to[c] += one * x[c];
}

// Softmax of the scores of query i, [m]; kt [d, n] are the keys.
template <typename T>
POLYSCENE_INLINE void weigh(const Head<T>& head, int64_t i, const T* kt, T* p) {
  const auto m = head.keys(i);
  mix(head.q + i * head.q_row, kt, head.n, head.d, m, head.scale, p);
  T most = p[0], sum = 0;
  for (int64_t j = 1; j < m; ++j) most = p[j] > most ? p[j] : most;
#pragma GCC ivdep
  for (int64_t j = 0; j < m; ++j) p[j] = vector_exp(p[j] - most);
  for (int64_t j = 0; j < m; ++j) sum += p[j];
  const T share = 1 / sum;
#pragma GCC ivdep
  for (int64_t j = 0; j < m; ++j) p[j] *= share;
}

// keep[j] = 0 or 1 / (1 - dropout) for the weights of query i.
template <typename T>
POLYSCENE_INLINE void draw(const Head<T>& head, int64_t i, T* keep) {
  const DropPiece piece(head.seed, head.first + i * head.n, head.dropout);
  const T kept = static_cast<T>(1 / (1 - head.dropout));
  const auto m = static_cast<uint32_t>(head.keys(i));
#pragma GCC ivdep
  for (uint32_t j = 0; j < m; ++j) keep[j] = mixed(piece.from + j, piece.one, piece.other) < piece.below ? T(0) : kept;
}

// buffer: kt [d n], p [n], keep [n].
template <typename T>
POLYSCENE_INLINE void attend(const Head<T>& head, T* out, int64_t out_row, T* buffer) {
  T *kt = buffer, *p = kt + head.d * head.n, *keep = p + head.n;
  transpose(head.k, head.kv_row, head.n, head.d, kt);
  for (int64_t i = 0; i < head.n; ++i) {
    const auto m = head.keys(i);
    weigh(head, i, kt, p);
    if (head.dropout > 0) {
      draw(head, i, keep);
      for (int64_t j = 0; j < m; ++j) p[j] *= keep[j];
    }
    T* to = out + i * out_row;
    std::fill(to, to + head.d, T(0));
    for (int64_t j = 0; j < m; ++j) add(p[j], head.v + j * head.kv_row, head.d, to);
  }
}

// The last query alone, keys as they lie; p [n].
template <typename T>
POLYSCENE_INLINE void attend_last(const Head<T>& head, T* out, T* p) {
  T most = -std::numeric_limits<T>::infinity(), sum = 0;
  for (int64_t j = 0; j < head.n; ++j) {
    p[j] = head.scale * dot(head.q, head.k + j * head.kv_row, head.d);
    most = p[j] > most ? p[j] : most;
  }
#pragma GCC ivdep
  for (int64_t j = 0; j < head.n; ++j) p[j] = vector_exp(p[j] - most);
  for (int64_t j = 0; j < head.n; ++j) sum += p[j];
  std::fill(out, out + head.d, T(0));
  for (int64_t j = 0; j < head.n; ++j) add(p[j] / sum, head.v + j * head.kv_row, head.d, out);
}

// dq, dk, dv start as 0 and lie as q, k, v do. buffer: kt, vt [d n] each, p, dp, keep [n] each.
template <typename T>
POLYSCENE_INLINE void attend_back(const Head<T>& head, const T* grad, int64_t grad_row, T* dq, T* dk, T* dv,
                                  T* buffer) {
  T *kt = buffer, *vt = kt + head.d * head.n, *p = vt + head.d * head.n, *dp = p + head.n, *keep = dp + head.n;
  transpose(head.k, head.kv_row, head.n, head.d, kt);
  transpose(head.v, head.kv_row, head.n, head.d, vt);
  for (int64_t i = 0; i < head.n; ++i) {
    const auto m = head.keys(i);
    const T* g = grad + i * grad_row;
    weigh(head, i, kt, p);
    mix(g, vt, head.n, head.d, m, T(1), dp);
    if (head.dropout > 0) {
      draw(head, i, keep);
      for (int64_t j = 0; j < m; ++j) {
        add(p[j] * keep[j], g, head.d, dv + j * head.kv_row);
        dp[j] *= keep[j];
      }
    } else {
      for (int64_t j = 0; j < m; ++j) add(p[j], g, head.d, dv + j * head.kv_row);
    }
    T mean = 0;
    for (int64_t j = 0; j < m; ++j) mean += p[j] * dp[j];
    const T* q = head.q + i * head.q_row;
    T* to = dq + i * head.q_row;
    for (int64_t j = 0; j < m; ++j) {
      const T ds = head.scale * p[j] * (dp[j] - mean);
      add(ds, head.k + j * head.kv_row, head.d, to);
      add(ds, q, head.d, dk + j * head.kv_row);
    }
  }
}

#define POLYSCENE_RAGGED_ATTENTION(T)                                                                      \
  POLYSCENE_SIMD void attend_of(const Head<T>& head, T* out, int64_t row, T* buffer) {                     \
    attend(head, out, row, buffer);                                                                        \
  }                                                                                                        \
  POLYSCENE_SIMD void attend_back_of(const Head<T>& head, const T* grad, int64_t row, T* dq, T* dk, T* dv, \
                                     T* buffer) {                                                          \
    attend_back(head, grad, row, dq, dk, dv, buffer);                                                      \
  }                                                                                                        \
  POLYSCENE_SIMD void attend_last_of(const Head<T>& head, T* out, T* p) { attend_last(head, out, p); }

POLYSCENE_RAGGED_ATTENTION(float)
POLYSCENE_RAGGED_ATTENTION(double)
#undef POLYSCENE_RAGGED_ATTENTION

struct Settings {
  int64_t heads;
  bool causal;
  double dropout;
  int64_t seed;
};

template <typename T>
void attend_rows(const T* q, const T* kv, int64_t n, int64_t dim, int64_t heads, T* out, T* weights) {
  const auto d = dim / heads;
  for (int64_t h = 0; h < heads; ++h) {
    const Head<T> head{q + h * d, kv + h * d, kv + dim + h * d,
                       n,         d,          dim,
                       2 * dim,   false,      static_cast<T>(1 / std::sqrt(static_cast<double>(d))),
                       0,         0,          0};
    attend_last_of(head, out + h * d, weights);
  }
}

// Calls body(head, first event, number of head, buffer) for each head of each sequence.
template <typename T, typename Body>
void for_heads(const Tensor& q, const Tensor& kv, const Tensor& offsets, const Settings& settings, Body&& body) {
  const auto sequences = offsets.numel() - 1, dim = q.size(1), d = dim / settings.heads;
  const auto* at = offsets.const_data_ptr<int64_t>();
  std::vector<int64_t> first(sequences + 1);  // of the weights
  for (int64_t b = 0; b < sequences; ++b) {
    const auto n = at[b + 1] - at[b];
    first[b + 1] = first[b] + n * n * settings.heads;
  }
  const auto* from = q.const_data_ptr<T>();
  const auto* key = kv.const_data_ptr<T>();
  at::parallel_for(0, sequences, 4, [&](int64_t begin, int64_t end) {
    std::vector<T> buffer;
    for (auto b = begin; b < end; ++b) {
      const auto n = at[b + 1] - at[b];
      buffer.resize(std::max<size_t>(buffer.size(), (2 * d + 3) * n));
      for (int64_t h = 0; h < settings.heads; ++h) {
        const auto* mine = key + at[b] * 2 * dim + h * d;
        body(Head<T>{from + at[b] * dim + h * d, mine, mine + dim, n, d, dim, 2 * dim, settings.causal,
                     static_cast<T>(1 / std::sqrt(static_cast<double>(d))), settings.dropout,
                     static_cast<uint64_t>(settings.seed), first[b] + h * n * n},
             at[b], h, buffer.data());
      }
    }
  });
}

class RaggedAttention : public torch::autograd::Function<RaggedAttention> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& q, const Tensor& kv, const Tensor& offsets,
                        int64_t heads, bool causal, double dropout, int64_t seed) {
    auto out = torch::empty_like(q);
    const auto dim = q.size(1);
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "ragged_attention", [&] {
      auto* to = out.data_ptr<scalar_t>();
      for_heads<scalar_t>(q, kv, offsets, {heads, causal, dropout, seed},
                          [&](const Head<scalar_t>& head, int64_t event, int64_t h, scalar_t* buffer) {
                            attend_of(head, to + event * dim + h * head.d, dim, buffer);
                          });
    });
    ctx->save_for_backward({q, kv, offsets});
    ctx->saved_data["heads"] = heads;
    ctx->saved_data["causal"] = causal;
    ctx->saved_data["dropout"] = dropout;
    ctx->saved_data["seed"] = seed;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "ragged_attention: derivatives of higher order need a forward under PlainGuard");
    const auto saved = ctx->get_saved_variables();
    const auto &q = saved[0], &kv = saved[1];
    const auto dim = q.size(1);
    const auto grad = grads[0].contiguous();
    auto dq = torch::zeros_like(q), dkv = torch::zeros_like(kv);
    const Settings settings{ctx->saved_data["heads"].toInt(), ctx->saved_data["causal"].toBool(),
                            ctx->saved_data["dropout"].toDouble(), ctx->saved_data["seed"].toInt()};
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "ragged_attention_backward", [&] {
      const auto* g = grad.const_data_ptr<scalar_t>();
      auto *to_q = dq.data_ptr<scalar_t>(), *to_kv = dkv.data_ptr<scalar_t>();
      for_heads<scalar_t>(q, kv, saved[2], settings,
                          [&](const Head<scalar_t>& head, int64_t event, int64_t h, scalar_t* buffer) {
                            const auto at = event * dim + h * head.d;
                            auto* dk = to_kv + event * 2 * dim + h * head.d;
                            attend_back_of(head, g + at, dim, to_q + at, dk, dk + dim, buffer);
                          });
    });
    return {dq, dkv, Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

// The same by operators that autograd knows, sequence by sequence.
Tensor by_operators(const Tensor& q, const Tensor& kv, const Tensor& offsets, int64_t heads, bool causal,
                    double dropout) {
  const auto* at = offsets.const_data_ptr<int64_t>();
  const auto split = [&](const Tensor& x) { return x.unflatten(1, {heads, -1}).transpose(0, 1); };  // [heads, n, d]
  std::vector<Tensor> out = {q.slice(0, 0, 0)};
  for (int64_t b = 0; b + 1 < offsets.numel(); ++b) {
    const auto n = at[b + 1] - at[b];
    if (n == 0) continue;
    const auto query = split(q.narrow(0, at[b], n)), key = split(kv.narrow(0, at[b], n).narrow(1, 0, q.size(1))),
               value = split(kv.narrow(0, at[b], n).narrow(1, q.size(1), q.size(1)));
    auto scores = query.matmul(key.transpose(1, 2)) / std::sqrt(static_cast<double>(query.size(2)));
    if (causal) {
      const auto later = torch::ones({n, n}, scores.options().dtype(torch::kBool)).triu(1);
      scores = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
    }
    const auto weights = torch::dropout(scores.softmax(-1), dropout, dropout > 0);
    out.push_back(weights.matmul(value).transpose(0, 1).flatten(1));
  }
  return torch::cat(out);
}

}  // namespace

Tensor ragged_attention(const Tensor& q, const Tensor& kv, const Tensor& offsets, int64_t heads, bool causal,
                        double dropout) {
  TORCH_CHECK_VALUE(heads > 0 && q.dim() == 2 && q.size(1) > 0 && q.size(1) % heads == 0,
                    "ragged_attention: q must be [L, D] with D a multiple of ", heads, " heads, got ", q.sizes());
  TORCH_CHECK_VALUE(kv.dim() == 2 && kv.size(0) == q.size(0) && kv.size(1) == 2 * q.size(1),
                    "ragged_attention: kv must be [", q.size(0), ", ", 2 * q.size(1), "], got ", kv.sizes());
  TORCH_CHECK_VALUE(dropout >= 0 && dropout < 1, "ragged_attention: dropout must lie in [0, 1), got ", dropout);
  TORCH_CHECK_VALUE(offsets.dim() == 1 && offsets.numel() > 0 && offsets[-1].item<int64_t>() == q.size(0),
                    "ragged_attention: offsets must end at ", q.size(0), ", the number of events");
  if (!plain({q, kv})) return by_operators(q, kv, offsets.cpu(), heads, causal, dropout);
  return RaggedAttention::apply(q.contiguous(), kv.contiguous(), offsets.contiguous(), heads, causal, dropout,
                                dropout > 0 ? draw_drop_seed() : 0);
}

void attend_newest(const float* q, const float* kv, int64_t n, int64_t dim, int64_t heads, float* out, float* weights) {
  attend_rows(q, kv, n, dim, heads, out, weights);
}

void attend_newest(const double* q, const double* kv, int64_t n, int64_t dim, int64_t heads, double* out,
                   double* weights) {
  attend_rows(q, kv, n, dim, heads, out, weights);
}

Tensor attend_newest(const Tensor& q, const Tensor& kv, int64_t heads) {
  TORCH_CHECK_VALUE(heads > 0 && q.dim() == 2 && q.size(0) == 1 && q.size(1) > 0 && q.size(1) % heads == 0,
                    "attend_newest: q must be [1, D] with D a multiple of ", heads, " heads, got ", q.sizes());
  TORCH_CHECK_VALUE(kv.dim() == 2 && kv.size(0) > 0 && kv.size(1) == 2 * q.size(1), "attend_newest: kv must be [n, ",
                    2 * q.size(1), "], n > 0, got ", kv.sizes());
  const auto dim = q.size(1), d = dim / heads, n = kv.size(0);
  if (!q.device().is_cpu() || (q.scalar_type() != torch::kFloat32 && q.scalar_type() != torch::kFloat64)) {
    const auto split = [&](const Tensor& x) { return x.unflatten(1, {heads, -1}).transpose(0, 1); };  // [heads, ., d]
    const auto scores =
        split(q).matmul(split(kv.narrow(1, 0, dim)).transpose(1, 2)) / std::sqrt(static_cast<double>(d));
    return scores.softmax(-1).matmul(split(kv.narrow(1, dim, dim))).transpose(0, 1).flatten(1);
  }
  const auto query = q.contiguous(), kept = kv.contiguous();
  auto out = torch::empty({1, dim}, q.options());
  AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "attend_newest", [&] {
    std::vector<scalar_t> weights(n);
    attend_newest(query.const_data_ptr<scalar_t>(), kept.const_data_ptr<scalar_t>(), n, dim, heads,
                  out.data_ptr<scalar_t>(), weights.data());
  });
  return out;
}

}  // namespace polyscene::nn
