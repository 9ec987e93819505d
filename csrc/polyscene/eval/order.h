#pragma once

#include <cstdint>
#include <vector>

namespace polyscene::eval {

/// Positions of `count` scores from the smallest to the largest; equal scores keep their order. No NaN; count < 2^32.
/// Linear time when the scores are float32 numbers (radix sort), n log n otherwise.
std::vector<uint32_t> ascending_order(const double* scores, int64_t count);

}  // namespace polyscene::eval
