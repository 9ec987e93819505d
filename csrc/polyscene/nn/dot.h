#pragma once

#include <cstdint>

#include "polyscene/nn/simd.h"

namespace polyscene::nn {

/// Product of two rows of numbers. Sixteen sums side by side: compilers may not reorder one sum to use wide
/// registers.
template <typename T>
POLYSCENE_INLINE T dot(const T* a, const T* b, int64_t width) {
  T lanes[16] = {}, sum = 0;
  int64_t d = 0;
  for (; d + 16 <= width; d += 16) {
    for (int64_t lane = 0; lane < 16; ++lane) lanes[lane] += a[d + lane] * b[d + lane];
  }
  for (; d < width; ++d) sum += a[d] * b[d];
  for (int64_t lane = 0; lane < 16; ++lane) sum += lanes[lane];
  return sum;
}

}  // namespace polyscene::nn
