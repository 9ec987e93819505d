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
constexpr int64_t kWork = 1 << 16;  // multiplications a task below which threads cost more than they save

// a[m, k] at data + m row + k column.
struct Operand {
  const float* data;
  int64_t row, column;
};

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")

// What is added to a product: nothing, what the result holds already, or one number for each column.
struct Added {
  bool result;
  const float* bias;
};

// c[R, 16 V] = a[R, depth] b[depth, 16 V] + added; of the last 16 columns only those of the mask exist.
template <int R, int V>
inline __attribute__((always_inline)) void tile(Operand a, const float* b, int64_t b_row, float* c, int64_t c_row,
                                                int64_t depth, __mmask16 last, Added add) {
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

// rows x columns of c, columns at most kPanel.
template <int V>
void panel(Operand a, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t rows, int64_t depth,
           __mmask16 last, Added add) {
  int64_t m = 0;
  const auto at = [&](int64_t row) { return Operand{a.data + row * a.row, a.row, a.column}; };
  for (; m + kTile <= rows; m += kTile) tile<kTile, V>(at(m), b, b_row, c + m * c_row, c_row, depth, last, add);
  for (; m + 4 <= rows; m += 4) tile<4, V>(at(m), b, b_row, c + m * c_row, c_row, depth, last, add);
  for (; m < rows; ++m) tile<1, V>(at(m), b, b_row, c + m * c_row, c_row, depth, last, add);
}

#pragma GCC pop_options

void any_panel(Operand a, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t rows, int64_t columns,
               int64_t depth, Added add) {
  const auto last = static_cast<__mmask16>((1u << ((columns - 1) % 16 + 1)) - 1);
  if (columns > 16) {
    panel<2>(a, b, b_row, c, c_row, rows, depth, last, add);
  } else {
    panel<1>(a, b, b_row, c, c_row, rows, depth, last, add);
  }
}

// Rows of a part, at most about `most`, so that the parts are even and as many for each thread; whole tiles.
int64_t even_part(int64_t rows, int64_t most) {
  const int64_t wanted = (rows + most - 1) / most,
                parts = (wanted + threads_here() - 1) / threads_here() * threads_here();
  return ((rows + parts - 1) / parts + kTile - 1) / kTile * kTile;
}

// Many rows of a: b goes into panels that lie in a row each, rows go by blocks.
void tall(Operand a, Operand b, float* c, int64_t c_row, int64_t rows, int64_t columns, int64_t depth, Added add) {
  const int64_t panels = (columns + kPanel - 1) / kPanel;
  std::vector<float> packed(panels * depth * kPanel);
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t first = p * kPanel, width = std::min(kPanel, columns - first);
    float* to = packed.data() + first * depth;
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t n = 0; n < width; ++n) to[k * kPanel + n] = b.data[k * b.row + (first + n) * b.column];
    }
  }
  const int64_t height = even_part(rows, kBlock), blocks = (rows + height - 1) / height;
  const int64_t grain = std::max<int64_t>(1, kWork / std::max<int64_t>(1, height * columns * depth));
  at::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t m = block * height, count = std::min(height, rows - m);
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t first = p * kPanel, width = std::min(kPanel, columns - first);
        any_panel({a.data + m * a.row, a.row, a.column}, packed.data() + first * depth, kPanel, c + m * c_row + first,
                  c_row, count, width, depth, {add.result, add.bias ? add.bias + first : nullptr});
      }
    }
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
        any_panel({a.data + m * a.row + k * a.column, a.row, a.column}, b + k * b_row + first, b_row,
                  c + m * c_row + first, c_row, std::min(height, rows - m), width, count, {add || k > 0, nullptr});
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

bool by_kernels(const Tensor& out, const Tensor& a, const Tensor& b, bool add, const Tensor& bias) {
  const int64_t rows = a.size(0), depth = a.size(1), columns = b.size(1);
  if (!has_kernels() || !fits(out) || !fits(a) || !fits(b)) return false;
  if (out.stride(1) != 1 && columns > 1) return false;
  if (rows == 0 || columns == 0 || depth == 0) return false;
  if (bias.defined() && !(fits(bias) && bias.is_contiguous())) return false;
  const Operand left{a.const_data_ptr<float>(), a.stride(0), a.stride(1)};
  const Operand right{b.const_data_ptr<float>(), b.stride(0), b.stride(1)};
  float* to = out.data_ptr<float>();
  if (!bias.defined() && left.column != 1 && right.column == 1) {
    deep(left, right.data, right.row, to, out.stride(0), rows, columns, depth, add);
  } else {
    tall(left, right, to, out.stride(0), rows, columns, depth,
         {add, bias.defined() ? bias.const_data_ptr<float>() : nullptr});
  }
  return true;
}

#else

bool by_kernels(const Tensor&, const Tensor&, const Tensor&, bool, const Tensor&) { return false; }

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
  if (in_bfloat16 && out.scalar_type() == torch::kFloat32) return by_bfloat16(out, a, b, add, bias);
  if (!by_kernels(out, a, b, add, bias)) by_aten(out, a, b, add, bias);
}

Bfloat16Guard::Bfloat16Guard(bool on) : before_(in_bfloat16) { in_bfloat16 = on; }
Bfloat16Guard::~Bfloat16Guard() { in_bfloat16 = before_; }

}  // namespace polyscene::nn
