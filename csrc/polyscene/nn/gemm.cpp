#include "polyscene/nn/gemm.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "polyscene/core/interleave.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define POLYSCENE_GEMM 1
#include <immintrin.h>
#endif

namespace polyscene::nn {
namespace {

using torch::Tensor;

thread_local bool in_bfloat16 = false;

void by_bfloat16(const Tensor& out, const Tensor& a, const Tensor& b, bool add, const Tensor& bias) {
  const auto found = at::mm(a.to(torch::kBFloat16), b.to(torch::kBFloat16));
  if (add) {
    out.add_(found);
  } else {
    out.copy_(found);
  }
  if (bias.defined()) out.add_(bias);
}

void by_aten(const Tensor& out, const Tensor& a, const Tensor& b, bool add, const Tensor& bias) {
  auto to = out;
  if (add) {
    to.addmm_(a, b);
  } else if (bias.defined()) {
    at::addmm_out(to, bias, a, b);
  } else {
    at::mm_out(to, a, b);
  }
}

#ifdef POLYSCENE_GEMM

constexpr int64_t kTile = 12;       // rows that a kernel holds in registers
constexpr int64_t kPanel = 32;      // columns, two registers
constexpr int64_t kBlock = 240;     // rows of a that stay in the cache while the panels of b pass by
constexpr int64_t kDepth = 256;     // of K at a time, where K is the long side
constexpr int64_t kNext = 16;       // rows ahead that are on their way in narrow products
constexpr int64_t kRest = 2;        // columns beyond whole registers that go alone
constexpr int64_t kFew = 4;         // columns for which a panel would be mostly empty
constexpr int64_t kWork = 1 << 16;  // multiplications a task below which threads cost more than they save

// a[m, k] at data + m row + k column.
struct Operand {
  const float* data;
  int64_t row, column;
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 doubts its own _mm512_reduce_add_ps
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")

// What is added to a product: nothing, what the result holds already, or one number for each column.
struct Added {
  bool result;
  const float* bias;
};

// What to fetch into the cache meanwhile: at each k the lines of these floats, a_step and b_row further each time.
struct Ahead {
  const float* a = nullptr;
  int64_t a_step = 0;
  const float* b = nullptr;
};

// c[R, 16 V] = a[R, depth] b[depth, 16 V] + added; of the last 16 columns only those of the mask exist.
template <int R, int V, bool fetch_a, bool fetch_b>
inline __attribute__((always_inline)) void tile(Operand a, const float* b, int64_t b_row, float* c, int64_t c_row,
                                                int64_t depth, __mmask16 last, Added add, Ahead ahead) {
  __m512 sum[R][V];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  // Three pointers and two distances reach twelve rows: more pointers would not fit into registers.
  const float *first = a.data, *second = a.data + 4 * a.row, *third = a.data + 8 * a.row;
  const int64_t one = a.row, three = 3 * a.row;
  for (int64_t k = 0; k < depth; ++k) {
    if constexpr (fetch_a) {
      __builtin_prefetch(ahead.a);
      ahead.a += ahead.a_step;
    }
    if constexpr (fetch_b) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) __builtin_prefetch(ahead.b + 16 * v);
      ahead.b += b_row;
    }
    __m512 w[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      w[v] = v == V - 1 ? _mm512_maskz_loadu_ps(last, b + 16 * v) : _mm512_loadu_ps(b + 16 * v);
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const float* from = r < 4 ? first : r < 8 ? second : third;
      const auto x = _mm512_set1_ps(r % 4 == 0   ? from[0]
                                    : r % 4 == 1 ? from[one]
                                    : r % 4 == 2 ? from[2 * one]
                                                 : from[three]);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[r][v] = _mm512_fmadd_ps(x, w[v], sum[r][v]);
    }
    first += a.column;
    second += a.column;
    third += a.column;
    b += b_row;
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      float* to = c + r * c_row + 16 * v;
      const __mmask16 mask = v == V - 1 ? last : static_cast<__mmask16>(0xffff);
      if (add.result) sum[r][v] = _mm512_add_ps(sum[r][v], _mm512_maskz_loadu_ps(mask, to));
      if (add.bias) sum[r][v] = _mm512_add_ps(sum[r][v], _mm512_maskz_loadu_ps(mask, add.bias + 16 * v));
      _mm512_mask_storeu_ps(to, mask, sum[r][v]);
    }
  }
}

// What passes by for the first time, and is therefore fetched ahead: pieces of a, or of b.
struct Fresh {
  bool a, b;
  int64_t a_next, a_step, b_next;  // floats from what a tile reads to what is read next, and from there on at each k
};

// rows x columns of c, columns at most kPanel.
template <int V>
void panel(Operand a, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t rows, int64_t depth,
           __mmask16 last, Added add, Fresh fresh) {
  int64_t m = 0;
  const auto next = [&]<int R>(std::integral_constant<int, R>) {
    const Operand from{a.data + m * a.row, a.row, a.column};
    float* to = c + m * c_row;
    const Ahead ahead{from.data + fresh.a_next, fresh.a_step, b + fresh.b_next};
    const bool fresh_b = fresh.b && m == 0;
    if (fresh.a && fresh_b) {
      tile<R, V, true, true>(from, b, b_row, to, c_row, depth, last, add, ahead);
    } else if (fresh.a) {
      tile<R, V, true, false>(from, b, b_row, to, c_row, depth, last, add, ahead);
    } else if (fresh_b) {
      tile<R, V, false, true>(from, b, b_row, to, c_row, depth, last, add, ahead);
    } else {
      tile<R, V, false, false>(from, b, b_row, to, c_row, depth, last, add, ahead);
    }
    m += R;
  };
  while (m + kTile <= rows) next(std::integral_constant<int, kTile>());
  while (m + 4 <= rows) next(std::integral_constant<int, 4>());
  if (m + 3 == rows) return next(std::integral_constant<int, 3>());
  if (m + 2 == rows) return next(std::integral_constant<int, 2>());
  if (m < rows) next(std::integral_constant<int, 1>());
}

// c[R, C] = a[R, depth] b[C, depth]' + added, where both lie in rows: few columns, so the lanes go along the depth.
template <int R, int C>
inline __attribute__((always_inline)) void narrow_tile(Operand a, const float* b, int64_t b_row, float* c,
                                                       int64_t c_row, int64_t depth, Added add) {
  __m512 sum[R][C];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < C; ++n) sum[r][n] = _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < depth; k += 16) {
    const auto mask = depth - k < 16 ? static_cast<__mmask16>((1u << (depth - k)) - 1) : static_cast<__mmask16>(0xffff);
    __m512 w[C];
#pragma GCC unroll 4
    for (int n = 0; n < C; ++n) w[n] = _mm512_maskz_loadu_ps(mask, b + n * b_row + k);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      __builtin_prefetch(a.data + (r + kNext) * a.row + k);
      const auto x = _mm512_maskz_loadu_ps(mask, a.data + r * a.row + k);
#pragma GCC unroll 4
      for (int n = 0; n < C; ++n) sum[r][n] = _mm512_fmadd_ps(x, w[n], sum[r][n]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < C; ++n) {
      float total = _mm512_reduce_add_ps(sum[r][n]);
      if (add.result) total += c[r * c_row + n];
      if (add.bias) total += add.bias[n];
      c[r * c_row + n] = total;
    }
  }
}

template <int C>
void narrow_panel(Operand a, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t rows, int64_t depth,
                  Added add) {
  int64_t m = 0;
  const auto at = [&](int64_t row) { return Operand{a.data + row * a.row, a.row, 1}; };
  for (; m + 4 <= rows; m += 4) narrow_tile<4, C>(at(m), b, b_row, c + m * c_row, c_row, depth, add);
  for (; m < rows; ++m) narrow_tile<1, C>(at(m), b, b_row, c + m * c_row, c_row, depth, add);
}

#pragma GCC pop_options
#pragma GCC diagnostic pop

void any_panel(Operand a, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t rows, int64_t columns,
               int64_t depth, Added add, Fresh fresh) {
  const auto last = static_cast<__mmask16>((1u << ((columns - 1) % 16 + 1)) - 1);
  if (columns > 16) {
    panel<2>(a, b, b_row, c, c_row, rows, depth, last, add, fresh);
  } else {
    panel<1>(a, b, b_row, c, c_row, rows, depth, last, add, fresh);
  }
}

// Rows of a part, at most about `most`, so that the parts are even and as many for each thread; whole tiles.
int64_t even_part(int64_t rows, int64_t most) {
  const int64_t threads = threads_here(), wanted = (rows + most - 1) / most,
                parts = (wanted + threads - 1) / threads * threads;
  return ((rows + parts - 1) / parts + kTile - 1) / kTile * kTile;
}

// Columns first .. first + columns of b, turned so that they lie in rows.
std::vector<float> turned(Operand b, int64_t first, int64_t columns, int64_t depth) {
  std::vector<float> out(columns * depth);
  for (int64_t n = 0; n < columns; ++n) {
    for (int64_t k = 0; k < depth; ++k) out[n * depth + k] = b.data[k * b.row + (first + n) * b.column];
  }
  return out;
}

// At most kFew columns of c, from b turned; a lies in rows.
void few_columns(Operand a, const float* b, float* c, int64_t c_row, int64_t rows, int64_t columns, int64_t depth,
                 Added add) {
  if (columns == 1) return narrow_panel<1>(a, b, depth, c, c_row, rows, depth, add);
  if (columns == 2) return narrow_panel<2>(a, b, depth, c, c_row, rows, depth, add);
  if (columns == 3) return narrow_panel<3>(a, b, depth, c, c_row, rows, depth, add);
  narrow_panel<4>(a, b, depth, c, c_row, rows, depth, add);
}

// Many rows of a: b goes into panels that lie in a row each, rows go by blocks. One or two columns beyond whole
// registers, as a numeric feature makes them, go alone: a panel would be computed for them that is mostly empty.
void tall(Operand a, Operand b, float* c, int64_t c_row, int64_t rows, int64_t columns, int64_t depth, Added add) {
  const int64_t beyond = columns % 16, rest = a.column == 1 && columns > 16 && beyond <= kRest ? beyond : 0;
  const int64_t whole = columns - rest, panels = (whole + kPanel - 1) / kPanel;
  std::vector<float> packed(panels * depth * kPanel);
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t first = p * kPanel, width = std::min(kPanel, whole - first);
    float* to = packed.data() + first * depth;
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t n = 0; n < width; ++n) to[k * kPanel + n] = b.data[k * b.row + (first + n) * b.column];
    }
  }
  const auto last = turned(b, whole, rest, depth);
  const auto from_column = [&](int64_t first) { return Added{add.result, add.bias ? add.bias + first : nullptr}; };
  const int64_t height = even_part(rows, kBlock), blocks = (rows + height - 1) / height;
  const bool follows = a.row == depth && a.column == 1;  // the next tile's lines follow one another
  const int64_t grain = std::max<int64_t>(1, kWork / std::max<int64_t>(1, height * columns * depth));
  at::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t m = block * height, count = std::min(height, rows - m);
      const Operand mine{a.data + m * a.row, a.row, a.column};
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t first = p * kPanel, width = std::min(kPanel, whole - first);
        any_panel(mine, packed.data() + first * depth, kPanel, c + m * c_row + first, c_row, count, width, depth,
                  from_column(first), {p == 0 && follows, false, kTile * a.row, 16, 0});
      }
      if (rest > 0) {
        few_columns(mine, last.data(), c + m * c_row + whole, c_row, count, rest, depth, from_column(whole));
      }
    }
  });
}

// At most kFew columns, as of gates and outputs.
void narrow(Operand a, Operand b, float* c, int64_t c_row, int64_t rows, int64_t columns, int64_t depth, Added add) {
  const auto all = turned(b, 0, columns, depth);
  const int64_t grain = std::max<int64_t>(4, kWork / (4 * columns * depth) * 4);
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    few_columns({a.data + begin * a.row, a.row, 1}, all.data(), c + begin * c_row, c_row, end - begin, columns, depth,
                add);
  });
}

// K is long, as in gradients of weights: pieces of it that the cache holds pass by all of c.
void deep(Operand a, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t rows, int64_t columns,
          int64_t depth, bool add) {
  const int64_t panels = (columns + kPanel - 1) / kPanel;
  // Panels that cannot be dealt evenly are halved, thirded, ... along the rows.
  const int64_t height = panels % threads_here() == 0 ? rows : even_part(rows, rows),
                blocks = (rows + height - 1) / height;
  const int64_t grain = std::max<int64_t>(1, kWork / std::max<int64_t>(1, kPanel * height * depth));
  at::parallel_for(0, panels * blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t k = 0; k < depth; k += kDepth) {
      const int64_t count = std::min(kDepth, depth - k);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i / blocks * kPanel, width = std::min(kPanel, columns - first);
        const int64_t m = i % blocks * height;
        const Fresh fresh{i == begin, true, kDepth * a.column, a.column, kDepth * b_row};
        any_panel({a.data + m * a.row + k * a.column, a.row, a.column}, b + k * b_row + first, b_row,
                  c + m * c_row + first, c_row, std::min(height, rows - m), width, count, {add || k > 0, nullptr},
                  fresh);
      }
    }
  });
}

bool fits(const Tensor& tensor) { return tensor.scalar_type() == torch::kFloat32 && tensor.device().is_cpu(); }

bool has_kernels() {
  static const bool out = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  return out;
}

bool by_kernels(const Part& out, const Part& a, const Part& b, bool add, const Part& bias) {
  const int64_t rows = a.rows, depth = a.columns, columns = b.columns;
  if (!has_kernels() || !fits(*out.whole) || !fits(*a.whole) || !fits(*b.whole)) return false;
  if (out.column != 1 && columns > 1) return false;
  if (rows == 0 || columns == 0 || depth == 0) return false;
  if (bias.whole && !(fits(*bias.whole) && (bias.column == 1 || columns == 1))) return false;
  const Operand left{a.whole->const_data_ptr<float>() + a.offset, a.row, a.column};
  const Operand right{b.whole->const_data_ptr<float>() + b.offset, b.row, b.column};
  float* to = out.whole->data_ptr<float>() + out.offset;
  if (!bias.whole && left.column != 1 && right.column == 1) {
    deep(left, right.data, right.row, to, out.row, rows, columns, depth, add);
    return true;
  }
  const Added added{add, bias.whole ? bias.whole->const_data_ptr<float>() + bias.offset : nullptr};
  if (columns <= kFew && left.column == 1) {
    narrow(left, right, to, out.row, rows, columns, depth, added);
  } else {
    tall(left, right, to, out.row, rows, columns, depth, added);
  }
  return true;
}

#else

bool by_kernels(const Part&, const Part&, const Part&, bool, const Part&) { return false; }

#endif

}  // namespace

void product(const Tensor& out, const Tensor& a, const Tensor& b, bool add, const Tensor& bias) {
  TORCH_CHECK_VALUE(a.dim() == 2 && b.dim() == 2 && out.dim() == 2 && a.size(1) == b.size(0) &&
                        out.size(0) == a.size(0) && out.size(1) == b.size(1),
                    "product: out must be [M, N], a [M, K] and b [K, N], got ", out.sizes(), ", ", a.sizes(), " and ",
                    b.sizes());
  TORCH_CHECK_VALUE(!bias.defined() || (!add && bias.dim() == 1 && bias.size(0) == out.size(1)),
                    "product: bias must be [N] and cannot be added to a result that is added to, got ",
                    bias.defined() ? bias.sizes() : at::IntArrayRef());
  const auto part = [](const Tensor& x) { return Part{&x, 0, x.size(0), x.size(1), x.stride(0), x.stride(1)}; };
  product(part(out), part(a), part(b), add,
          bias.defined() ? Part{&bias, 0, 1, bias.size(0), 0, bias.stride(0)} : Part{});
}

void product(const Part& out, const Part& a, const Part& b, bool add, const Part& bias) {
  const bool rounded = in_bfloat16 && out.whole->scalar_type() == torch::kFloat32;
  if (!rounded && by_kernels(out, a, b, add, bias)) return;
  (rounded ? by_bfloat16 : by_aten)(out.view(), a.view(), b.view(), add, bias.whole ? bias.view()[0] : Tensor());
}

Bfloat16Guard::Bfloat16Guard(bool on) : before_(in_bfloat16) { in_bfloat16 = on; }
Bfloat16Guard::~Bfloat16Guard() { in_bfloat16 = before_; }

}  // namespace polyscene::nn
