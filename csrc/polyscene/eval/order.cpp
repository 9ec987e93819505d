#include "polyscene/eval/order.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

namespace polyscene::eval {
namespace {

// Bits that sort as unsigned numbers the way the floats do; -0 and 0 are equal.
uint32_t sortable(float value) {
  const auto bits = std::bit_cast<uint32_t>(value == 0 ? 0.0f : value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Sorts by the upper 32 bits in three passes of 11 bits.
void radix_sort(std::vector<uint64_t>& keys) {
  std::vector<uint64_t> other(keys.size());
  for (const int shift : {32, 43, 54}) {
    std::array<size_t, 2048> start{};
    for (const auto key : keys) ++start[(key >> shift) & 2047];
    size_t sum = 0;
    for (auto& first : start) sum += std::exchange(first, sum);
    for (const auto key : keys) other[start[(key >> shift) & 2047]++] = key;
    keys.swap(other);
  }
}

}  // namespace

std::vector<uint32_t> ascending_order(const double* scores, int64_t count) {
  std::vector<uint32_t> order(count);
  const bool single = std::all_of(scores, scores + count, [](double x) { return double{static_cast<float>(x)} == x; });
  if (!single) {
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(),
              [scores](uint32_t a, uint32_t b) { return scores[a] < scores[b] || (scores[a] == scores[b] && a < b); });
    return order;
  }
  std::vector<uint64_t> keys(count);
  for (int64_t i = 0; i < count; ++i) {
    keys[i] = uint64_t{sortable(static_cast<float>(scores[i]))} << 32 | static_cast<uint32_t>(i);
  }
  if (count < 1024) {
    std::sort(keys.begin(), keys.end());
  } else {
    radix_sort(keys);
  }
  std::transform(keys.begin(), keys.end(), order.begin(), [](uint64_t key) { return static_cast<uint32_t>(key); });
  return order;
}

}  // namespace polyscene::eval
