#include "polyscene/train/table_update.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/variable.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <limits>

#include "polyscene/core/interleave.h"
#include "polyscene/core/lanes.h"

namespace polyscene::train {
namespace {

using torch::Tensor;

constexpr int64_t kPiece = 4096;  // floats that a thread takes at a time
constexpr int64_t kAhead = 6;     // rows that are on their way while one is updated
constexpr int64_t kLines = 8;     // of each, at most

// update(row, g, w, width) for each row of the gradient; rows do not repeat, so threads never meet. `beside` are
// tensors of the table's shape that the update reads too, `counts` has one number a row.
template <typename scalar_t, typename Body>
void for_rows(const RowGradient& gradient, const Tensor& weight, std::initializer_list<const scalar_t*> beside,
              const int32_t* counts, Body&& update) {
  if (gradient.values.numel() == 0) return;
  const int64_t count = gradient.rows.numel(), width = weight.numel() / weight.size(0);
  const auto* rows = gradient.rows.const_data_ptr<int64_t>();
  const auto* values = gradient.values.const_data_ptr<scalar_t>();
  auto* weights = weight.data_ptr<scalar_t>();
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(scalar_t));  // numbers that come together
  const int64_t fetched = std::min(width, kLines * line);
  interleaved_for(count, std::max<int64_t>(1, kPiece / width), [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      if (u + kAhead < end) {
        const auto next = rows[u + kAhead] * width;
        for (int64_t d = 0; d < fetched; d += line) {
          __builtin_prefetch(weights + next + d, 1);
          for (const auto* table : beside) __builtin_prefetch(table + next + d, 1);
        }
        if (counts) __builtin_prefetch(counts + rows[u + kAhead], 1);
      }
      update(rows[u], values + u * width, weights + rows[u] * width, width);
    }
  });
  torch::autograd::impl::bump_version(weight);  // autograd must see that the values changed
}

// Appends (1 - beta^t)^-power for t up to `steps`, but not beyond where beta^t is lost in rounding: there it stays 1.
void grow(std::vector<double>& corrections, double beta, double power, int64_t steps) {
  const double lost = beta > 0 ? std::ceil(-37.5 / std::log(beta)) : 1;
  const auto wanted = static_cast<size_t>(std::min<double>(static_cast<double>(steps), lost)) + 1;
  while (corrections.size() < wanted) {
    const double kept = 1 - std::pow(beta, static_cast<double>(corrections.size()));
    corrections.push_back(corrections.empty() ? 1 : std::pow(kept, -power));
  }
}

double at_or_last(const std::vector<double>& values, int64_t t) {
  return t < static_cast<int64_t>(values.size()) ? values[t] : 1;
}

// out = sqrt(x). Compilers leave a plain loop scalar, because std::sqrt may set errno.
template <typename scalar_t>
void square_roots(const scalar_t* x, scalar_t* out, int64_t count) {
  int64_t i = 0;
#if defined(__SSE2__)
  if constexpr (std::is_same_v<scalar_t, float>) {
    for (; i + 4 <= count; i += 4) _mm_storeu_ps(out + i, _mm_sqrt_ps(_mm_loadu_ps(x + i)));
  } else {
    for (; i + 2 <= count; i += 2) _mm_storeu_pd(out + i, _mm_sqrt_pd(_mm_loadu_pd(x + i)));
  }
#endif
  for (; i < count; ++i) out[i] = std::sqrt(x[i]);
}

#ifdef POLYSCENE_LANES
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 doubts its own intrinsics

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
namespace avx512 {
using Lanes = Avx512;
#include "polyscene/train/adam_row.inc"
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
using Lanes = Avx2;
#include "polyscene/train/adam_row.inc"
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC diagnostic pop

using WideAdam = decltype(&avx512::wide_adam);

// For the processor; null: it has no vectors that would be faster than what compilers make.
WideAdam wide_adam() {
  static const WideAdam out = has_avx512() ? &avx512::wide_adam : has_avx2() ? &avx2::wide_adam : nullptr;
  return out;
}
#endif

// One row of Adam; see `RowAdam`.
template <typename scalar_t>
struct AdamRow {
  scalar_t rate, spread, keep, new1, new2, small, decay;
#ifdef POLYSCENE_LANES
  WideAdam wide = wide_adam();
#endif

  void step(const scalar_t* __restrict g, scalar_t* __restrict w, scalar_t* __restrict m, scalar_t* __restrict v,
            int64_t width) const {
#ifdef POLYSCENE_LANES
    if constexpr (std::is_same_v<scalar_t, float>) {
      if (wide) return wide(g, w, m, v, width, rate, spread, keep, new1, new2, small, decay);
    }
#endif
    constexpr int64_t kColumns = 64;
    scalar_t roots[kColumns];
    for (int64_t begin = 0; begin < width; begin += kColumns) {
      const int64_t end = std::min(width, begin + kColumns);
      for (int64_t d = begin; d < end; ++d) {
        const scalar_t slope = g[d] + decay * w[d];
        m[d] += new1 * (slope - m[d]);
        v[d] = keep * v[d] + new2 * slope * slope;
      }
      square_roots(v + begin, roots, end - begin);
      for (int64_t d = begin; d < end; ++d) w[d] -= rate * m[d] / (roots[d - begin] * spread + small);
    }
  }
};

}  // namespace

RowGradient row_gradient(const Tensor& gradient) {
  if (gradient.is_sparse()) {
    const auto values = gradient._values();
    return {gradient._indices()[0].contiguous(), values.contiguous()};
  }
  const auto rows = (gradient.dim() > 1 ? gradient.ne(0).flatten(1).any(1) : gradient.ne(0)).nonzero().squeeze(1);
  return {rows, gradient.index_select(0, rows)};
}

void RowAdam::operator()(const RowGradient& gradient, const RowStep& step, const Tensor& weight, const Tensor& mean,
                         const Tensor& square, const Tensor& steps, int64_t global_step) {
  grow(first_, beta1_, 1, global_step);
  grow(second_, beta2_, 0.5, global_step);
  auto* counts = steps.defined() ? steps.data_ptr<int32_t>() : nullptr;
  AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "row_adam", [&] {
    auto* means = mean.data_ptr<scalar_t>();
    auto* squares = square.data_ptr<scalar_t>();
    AdamRow<scalar_t> adam{};
    adam.keep = static_cast<scalar_t>(beta2_);
    adam.new1 = static_cast<scalar_t>(1 - beta1_);
    adam.new2 = static_cast<scalar_t>(1 - beta2_);
    adam.small = static_cast<scalar_t>(eps_);
    adam.decay = static_cast<scalar_t>(step.weight_decay);
    for_rows<scalar_t>(gradient, weight, {means, squares}, counts,
                       [&](int64_t row, const scalar_t* g, scalar_t* w, int64_t width) {
                         const int64_t t = counts ? ++counts[row] : global_step;
                         auto mine = adam;
                         mine.rate = static_cast<scalar_t>(step.lr * at_or_last(first_, t));
                         mine.spread = static_cast<scalar_t>(at_or_last(second_, t));
                         mine.step(g, w, means + row * width, squares + row * width, width);
                       });
  });
}

void row_sgd(const RowGradient& gradient, const RowStep& step, double momentum, const Tensor& weight,
             const Tensor& buffer) {
  AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "row_sgd", [&] {
    auto* buffers = buffer.defined() ? buffer.data_ptr<scalar_t>() : nullptr;
    const auto rate = static_cast<scalar_t>(step.lr), decay = static_cast<scalar_t>(step.weight_decay);
    const auto keep = static_cast<scalar_t>(momentum);
    for_rows<scalar_t>(gradient, weight, {}, nullptr, [&](int64_t row, const scalar_t* g, scalar_t* w, int64_t width) {
      if (!buffers) {
        for (int64_t d = 0; d < width; ++d) w[d] -= rate * (g[d] + decay * w[d]);
        return;
      }
      auto* b = buffers + row * width;
      for (int64_t d = 0; d < width; ++d) {
        b[d] = keep * b[d] + g[d] + decay * w[d];
        w[d] -= rate * b[d];
      }
    });
  });
}

void row_adagrad(const RowGradient& gradient, const RowStep& step, double eps, const Tensor& weight,
                 const Tensor& accumulator) {
  AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "row_adagrad", [&] {
    auto* sums = accumulator.data_ptr<scalar_t>();
    const auto decay = static_cast<scalar_t>(step.weight_decay);
    for_rows<scalar_t>(gradient, weight, {}, nullptr, [&](int64_t row, const scalar_t* g, scalar_t* w, int64_t width) {
      scalar_t squares = 0;
      for (int64_t d = 0; d < width; ++d) squares += (g[d] + decay * w[d]) * (g[d] + decay * w[d]);
      sums[row] += squares / static_cast<scalar_t>(width);
      const auto rate = static_cast<scalar_t>(step.lr / (std::sqrt(static_cast<double>(sums[row])) + eps));
      for (int64_t d = 0; d < width; ++d) w[d] -= rate * (g[d] + decay * w[d]);
    });
  });
}

double sum_of_squares(const Tensor& values) {
  if (values.numel() == 0) return 0;
  const auto type = values.scalar_type();
  const bool plain = values.device().is_cpu() && values.is_non_overlapping_and_dense() &&
                     (type == torch::kFloat32 || type == torch::kFloat64);
  if (!plain) return values.to(torch::kFloat64).square().sum().item<double>();
  // Blocks of fixed size, added up in order: the bits do not depend on who summed which block.
  constexpr int64_t kBlock = 8192;
  const int64_t count = values.numel(), blocks = (count + kBlock - 1) / kBlock;
  std::vector<double> partial(blocks);
  AT_DISPATCH_FLOATING_TYPES(type, "sum_of_squares", [&] {
    const auto* x = values.const_data_ptr<scalar_t>();
    at::parallel_for(0, blocks, 4, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        double lanes[8] = {};
        int64_t i = block * kBlock;
        const int64_t stop = std::min(count, i + kBlock);
        for (; i + 8 <= stop; i += 8) {
          for (int64_t lane = 0; lane < 8; ++lane) lanes[lane] += double{x[i + lane]} * double{x[i + lane]};
        }
        for (; i < stop; ++i) lanes[0] += double{x[i]} * double{x[i]};
        for (const double lane : lanes) partial[block] += lane;
      }
    });
  });
  double sum = 0;
  for (const double part : partial) sum += part;
  return sum;
}

}  // namespace polyscene::train
