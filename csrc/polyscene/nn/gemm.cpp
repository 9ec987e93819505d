#include "polyscene/nn/gemm.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "polyscene/core/interleave.h"
#include "polyscene/core/lanes.h"

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

#ifdef POLYSCENE_LANES

constexpr int64_t kBlock = 240;  // rows of a that stay in the cache while the panels of b pass by
constexpr int64_t kDepth = 256;  // of K at a time, where K is the long side
constexpr int64_t kNext = 16;    // rows ahead that are on their way in narrow products
constexpr int64_t kRest = 2;     // columns beyond whole registers that go alone
constexpr int64_t kFew = 4;      // columns for which a panel would be mostly empty
constexpr int kPackedTile = 6;   // rows and columns of pieces, where they are packed
constexpr int kPackedPanel = 16;
constexpr int64_t kWork = 1 << 16;  // multiplications a task below which threads cost more than they save

// a[m, k] at data + m row + k column within a tile; the next tile begins `tile` floats further for each of its rows.
struct Operand {
  const float* data;
  int64_t row, column, tile;

  Operand(const float* data, int64_t row, int64_t column) : Operand(data, row, column, row) {}
  Operand(const float* data, int64_t row, int64_t column, int64_t tile)
      : data(data), row(row), column(column), tile(tile) {}
};

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

// What passes by for the first time, and is therefore fetched ahead: pieces of a, or of b.
struct Fresh {
  bool a, b;
  int64_t a_next, a_step, b_next;  // floats from what a tile reads to what is read next, and from there on at each k
};

// The innermost loops for one set of instructions.
struct Kernels {
  int64_t lanes, tile, panel;  // numbers in a vector, rows and columns of c at a time
  bool packs;                  // whether what passes by in `deep` goes into pieces that lie in a row each
  // rows x columns of c, columns at most `panel`; `padded` says that b can be read up to whole vectors.
  void (*any_panel)(Operand a, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t rows, int64_t columns,
                    int64_t depth, Added add, Fresh fresh, bool padded);
  // At most kFew columns of c, from b turned; a lies in rows.
  void (*few_columns)(Operand a, const float* b, float* c, int64_t c_row, int64_t rows, int64_t columns, int64_t depth,
                      Added add);
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 doubts its own intrinsics

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
namespace avx512 {
using Lanes = Avx512;
constexpr int kTile = 12, kNarrowTile = 4;
constexpr bool kPacks = false;  // registers hold enough to read lines from where they lie
#include "polyscene/nn/gemm_tiles.inc"
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
using Lanes = Avx2;
constexpr int kTile = kPackedTile, kNarrowTile = 2;
constexpr bool kPacks = true;
#include "polyscene/nn/gemm_tiles.inc"
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC diagnostic pop

// The best that the processor runs; null: none.
const Kernels* kernels() {
  static const Kernels* out = has_avx512() ? &avx512::kKernels : has_avx2() ? &avx2::kKernels : nullptr;
  return out;
}

// Rows of a part, at most about `most`, so that the parts are even and as many for each thread; whole tiles.
int64_t even_part(int64_t rows, int64_t most, int64_t tile) {
  const int64_t threads = threads_here(), wanted = (rows + most - 1) / most,
                parts = (wanted + threads - 1) / threads * threads;
  return ((rows + parts - 1) / parts + tile - 1) / tile * tile;
}

// Columns first .. first + columns of b, turned so that they lie in rows.
std::vector<float> turned(Operand b, int64_t first, int64_t columns, int64_t depth) {
  std::vector<float> out(columns * depth);
  for (int64_t n = 0; n < columns; ++n) {
    for (int64_t k = 0; k < depth; ++k) out[n * depth + k] = b.data[k * b.row + (first + n) * b.column];
  }
  return out;
}

// Many rows of a: b goes into panels that lie in a row each, rows go by blocks. One or two columns beyond whole
// registers, as a numeric feature makes them, go alone: a panel would be computed for them that is mostly empty.
void tall(const Kernels& by, Operand a, Operand b, float* c, int64_t c_row, int64_t rows, int64_t columns,
          int64_t depth, Added add) {
  const int64_t beyond = columns % by.lanes, rest = a.column == 1 && columns > by.lanes && beyond <= kRest ? beyond : 0;
  const int64_t whole = columns - rest, panels = (whole + by.panel - 1) / by.panel;
  std::vector<float> packed(panels * depth * by.panel);
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t first = p * by.panel, width = std::min(by.panel, whole - first);
    float* to = packed.data() + first * depth;
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t n = 0; n < width; ++n) to[k * by.panel + n] = b.data[k * b.row + (first + n) * b.column];
    }
  }
  const auto last = turned(b, whole, rest, depth);
  const auto from_column = [&](int64_t first) { return Added{add.result, add.bias ? add.bias + first : nullptr}; };
  const int64_t height = even_part(rows, kBlock, by.tile), blocks = (rows + height - 1) / height;
  const bool follows = a.row == depth && a.column == 1;  // the next tile's lines follow one another
  const int64_t step = by.tile > 8 ? 16 : 8;             // floats at each k that fetch the next tile
  const int64_t grain = std::max<int64_t>(1, kWork / std::max<int64_t>(1, height * columns * depth));
  at::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t m = block * height, count = std::min(height, rows - m);
      const Operand mine{a.data + m * a.row, a.row, a.column};
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t first = p * by.panel, width = std::min(by.panel, whole - first);
        by.any_panel(mine, packed.data() + first * depth, by.panel, c + m * c_row + first, c_row, count, width, depth,
                     from_column(first), {p == 0 && follows, false, by.tile * a.row, step, 0}, true);
      }
      if (rest > 0) {
        by.few_columns(mine, last.data(), c + m * c_row + whole, c_row, count, rest, depth, from_column(whole));
      }
    }
  });
}

// At most kFew columns, as of gates and outputs.
void narrow(const Kernels& by, Operand a, Operand b, float* c, int64_t c_row, int64_t rows, int64_t columns,
            int64_t depth, Added add) {
  const auto all = turned(b, 0, columns, depth);
  const int64_t grain = std::max<int64_t>(4, kWork / (4 * columns * depth) * 4);
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    by.few_columns({a.data + begin * a.row, a.row, 1}, all.data(), c + begin * c_row, c_row, end - begin, columns,
                   depth, add);
  });
}

// Calls body(n) with n as a constant where it is `usual`.
template <int usual, typename Body>
void with_count(int64_t count, Body&& body) {
  if (count == usual) {
    body(std::integral_constant<int64_t, usual>());
  } else {
    body(count);
  }
}

// rows x depth of a, which lies in columns, by tiles of kPackedTile rows.
void pack_tiles(Operand a, int64_t rows, int64_t depth, std::vector<float>& out) {
  out.resize((rows + kPackedTile - 1) / kPackedTile * kPackedTile * depth);
  for (int64_t m = 0; m < rows; m += kPackedTile) {
    with_count<kPackedTile>(std::min<int64_t>(kPackedTile, rows - m), [&](auto count) {
      const float* from = a.data + m;
      float* to = out.data() + m * depth;
      for (int64_t k = 0; k < depth; ++k, from += a.column, to += kPackedTile) {
        for (int64_t r = 0; r < count; ++r) to[r] = from[r];
      }
    });
  }
}

// depth x columns of b, columns at most kPackedPanel.
void pack_panel(const float* b, int64_t b_row, int64_t columns, int64_t depth, std::vector<float>& out) {
  out.resize(kPackedPanel * depth);
  with_count<kPackedPanel>(columns, [&](auto count) {
    float* to = out.data();
    for (int64_t k = 0; k < depth; ++k, b += b_row, to += kPackedPanel) {
      for (int64_t n = 0; n < count; ++n) to[n] = b[n];
    }
  });
}

// K is long, as in gradients of weights: pieces of it that the cache holds pass by all of c.
void deep(const Kernels& by, Operand a, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t rows,
          int64_t columns, int64_t depth, bool add) {
  const int64_t panels = (columns + by.panel - 1) / by.panel;
  // Panels that cannot be dealt evenly are halved, thirded, ... along the rows.
  const int64_t height = panels % threads_here() == 0 ? rows : even_part(rows, rows, by.tile),
                blocks = (rows + height - 1) / height;
  const int64_t grain = std::max<int64_t>(1, kWork / std::max<int64_t>(1, by.panel * height * depth));
  const bool packs = by.packs && a.row == 1 && columns > by.panel && rows > by.tile;
  at::parallel_for(0, panels * blocks, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> tiles, panel;
    for (int64_t k = 0; k < depth; k += kDepth) {
      const int64_t count = std::min(kDepth, depth - k);
      for (int64_t i = begin; packs && i < end; ++i) {
        const int64_t first = i % panels * by.panel, width = std::min(by.panel, columns - first);
        const int64_t m = i / panels * height, some = std::min(height, rows - m);
        if (i == begin || i % panels == 0) {
          pack_tiles({a.data + m * a.row + k * a.column, a.row, a.column}, some, count, tiles);
        }
        pack_panel(b + k * b_row + first, b_row, width, count, panel);
        by.any_panel({tiles.data(), 1, by.tile, count}, panel.data(), by.panel, c + m * c_row + first, c_row, some,
                     width, count, {add || k > 0, nullptr}, {false, false, 0, 0, 0}, true);
      }
      for (int64_t i = begin; !packs && i < end; ++i) {
        const int64_t first = i / blocks * by.panel, width = std::min(by.panel, columns - first);
        const int64_t m = i % blocks * height;
        const Fresh fresh{i == begin, true, kDepth * a.column, a.column, kDepth * b_row};
        by.any_panel({a.data + m * a.row + k * a.column, a.row, a.column}, b + k * b_row + first, b_row,
                     c + m * c_row + first, c_row, std::min(height, rows - m), width, count, {add || k > 0, nullptr},
                     fresh, false);
      }
    }
  });
}

bool fits(const Tensor& tensor) { return tensor.scalar_type() == torch::kFloat32 && tensor.device().is_cpu(); }

bool by_kernels(const Part& out, const Part& a, const Part& b, bool add, const Part& bias, bool over_rows) {
  const int64_t rows = a.rows, depth = a.columns, columns = b.columns;
  const auto* by = kernels();
  if (!by || !fits(*out.whole) || !fits(*a.whole) || !fits(*b.whole)) return false;
  if (out.column != 1 && columns > 1) return false;
  if (rows == 0 || columns == 0 || depth == 0) return false;
  if (bias.whole && !(fits(*bias.whole) && (bias.column == 1 || columns == 1))) return false;
  const Operand left{a.whole->const_data_ptr<float>() + a.offset, a.row, a.column};
  const Operand right{b.whole->const_data_ptr<float>() + b.offset, b.row, b.column};
  float* to = out.whole->data_ptr<float>() + out.offset;
  if (over_rows || (!bias.whole && left.column != 1 && right.column == 1)) {
    deep(*by, left, right.data, right.row, to, out.row, rows, columns, depth, add);
    return true;
  }
  const Added added{add, bias.whole ? bias.whole->const_data_ptr<float>() + bias.offset : nullptr};
  if (columns <= kFew && left.column == 1) {
    narrow(*by, left, right, to, out.row, rows, columns, depth, added);
  } else {
    tall(*by, left, right, to, out.row, rows, columns, depth, added);
  }
  return true;
}

#else

bool by_kernels(const Part&, const Part&, const Part&, bool, const Part&, bool) { return false; }

#endif

void anyhow(const Part& out, const Part& a, const Part& b, bool add, const Part& bias, bool over_rows) {
  const bool rounded = in_bfloat16 && out.whole->scalar_type() == torch::kFloat32;
  if (!rounded && by_kernels(out, a, b, add, bias, over_rows)) return;
  (rounded ? by_bfloat16 : by_aten)(out.view(), a.view(), b.view(), add, bias.whole ? bias.view()[0] : Tensor());
}

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
  anyhow(out, a, b, add, bias, /*over_rows=*/false);
}

void product_over_rows(const Part& out, const Part& a, const Part& b) {
  anyhow(out, a, b, /*add=*/false, Part{}, /*over_rows=*/b.column == 1);
}

Bfloat16Guard::Bfloat16Guard(bool on) : before_(in_bfloat16) { in_bfloat16 = on; }
Bfloat16Guard::~Bfloat16Guard() { in_bfloat16 = before_; }

}  // namespace polyscene::nn
