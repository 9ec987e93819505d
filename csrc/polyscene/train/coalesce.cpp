#include "polyscene/train/coalesce.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

namespace polyscene::train {
namespace {

using torch::Tensor;

constexpr int64_t kWordsAnEntry = 8;  // of the table's bits, beyond which passing over them costs more than a sort
constexpr int64_t kGrain = 256;       // rows a task
constexpr int64_t kEntriesAhead = 4;  // rows that are on their way while one is added up

// Entries of each distinct row, in their order.
struct Grouped {
  Tensor rows;                 // int64 [1, U], ascending
  std::vector<int32_t> begin;  // [U + 1] into `entry`
  std::vector<int32_t> entry;  // [N]
};

// A bit for each row of the table tells which there are; counting bits, which place each takes among them.
Grouped group(const int64_t* row, int64_t count, int64_t total) {
  const int64_t words = (total + 63) / 64;
  std::vector<uint64_t> bits(words, 0);
  std::vector<int32_t> before(words), place(count);
  for (int64_t n = 0; n < count; ++n) bits[row[n] >> 6] |= uint64_t{1} << (row[n] & 63);
  int32_t distinct = 0;
  for (int64_t w = 0; w < words; ++w) {
    before[w] = distinct;
    distinct += std::popcount(bits[w]);
  }
  Grouped out;
  out.rows = torch::empty({1, distinct}, torch::kInt64);
  auto* to = out.rows.data_ptr<int64_t>();
  for (int64_t w = 0; w < words; ++w) {
    for (uint64_t left = bits[w]; left != 0; left &= left - 1) *to++ = w * 64 + std::countr_zero(left);
  }
  out.begin.assign(distinct + 1, 0);
  out.entry.resize(count);
  for (int64_t n = 0; n < count; ++n) {
    const auto w = row[n] >> 6;
    place[n] = before[w] + std::popcount(bits[w] & ((uint64_t{1} << (row[n] & 63)) - 1));
    ++out.begin[place[n] + 1];
  }
  for (int32_t u = 0; u < distinct; ++u) out.begin[u + 1] += out.begin[u];
  std::vector<int32_t> next(out.begin.begin(), out.begin.end() - 1);
  for (int64_t n = 0; n < count; ++n) out.entry[next[place[n]]++] = static_cast<int32_t>(n);
  return out;
}

template <typename scalar_t>
void add_up(const Grouped& grouped, const scalar_t* values, int64_t width, scalar_t* out) {
  const auto& entry = grouped.entry;
  const auto count = static_cast<int64_t>(entry.size());
  at::parallel_for(0, grouped.rows.numel(), kGrain, [&](int64_t first, int64_t last) {
    for (int64_t u = first; u < last; ++u) {
      const int64_t begin = grouped.begin[u], end = grouped.begin[u + 1];
      if (begin + kEntriesAhead < count) __builtin_prefetch(values + entry[begin + kEntriesAhead] * width);
      auto* sum = out + u * width;
      std::memcpy(sum, values + entry[begin] * width, width * sizeof(scalar_t));
      for (int64_t n = begin + 1; n < end; ++n) {
        const auto* from = values + entry[n] * width;
        for (int64_t d = 0; d < width; ++d) sum[d] += from[d];
      }
    }
  });
}

}  // namespace

Tensor coalesced(const Tensor& gradient) {
  if (gradient.is_coalesced() || !gradient.device().is_cpu() || gradient.sparse_dim() != 1) return gradient.coalesce();
  const auto rows = gradient._indices()[0].contiguous(), values = gradient._values();
  const auto* row = rows.const_data_ptr<int64_t>();
  const auto count = rows.numel(), total = gradient.size(0);
  if (std::adjacent_find(row, row + count, std::greater_equal<int64_t>()) == row + count) {
    return gradient._coalesced_(true);
  }
  const auto type = values.scalar_type();
  const bool small = count <= std::numeric_limits<int32_t>::max() && (total + 63) / 64 <= kWordsAnEntry * count;
  if (!small || values.numel() == 0 || (type != torch::kFloat32 && type != torch::kFloat64)) return gradient.coalesce();
  const auto grouped = group(row, count, total);
  auto sizes = values.sizes().vec();
  sizes[0] = grouped.rows.numel();
  auto sums = torch::empty(sizes, values.options());
  const auto given = values.contiguous();
  AT_DISPATCH_FLOATING_TYPES(type, "coalesced", [&] {
    add_up(grouped, given.const_data_ptr<scalar_t>(), given.numel() / count, sums.data_ptr<scalar_t>());
  });
  return at::_sparse_coo_tensor_unsafe(grouped.rows, sums, gradient.sizes(), gradient.options(),
                                       /*is_coalesced=*/true);
}

}  // namespace polyscene::train
