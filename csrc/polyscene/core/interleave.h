#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace polyscene {

/// Threads that a parallel loop would have here: one inside another parallel loop.
inline int64_t threads_here() { return at::in_parallel_region() ? 1 : at::get_num_threads(); }

/// Runs body(begin, end) on pieces of [0, count) that are dealt to all threads in turn: for work whose cost changes
/// along the range, as where a large table comes first and misses the cache, and halves would not take equally long.
template <typename Body>
void interleaved_for(int64_t count, int64_t piece, Body&& body) {
  const int64_t pieces = (count + piece - 1) / piece;
  const int64_t threads = std::min(threads_here(), pieces);
  at::parallel_for(0, threads, 1, [&](int64_t first, int64_t last) {
    for (int64_t thread = first; thread < last; ++thread) {
      for (int64_t i = thread; i < pieces; i += threads) body(i * piece, std::min(count, (i + 1) * piece));
    }
  });
}

}  // namespace polyscene
