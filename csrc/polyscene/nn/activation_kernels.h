#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "polyscene/nn/simd.h"

namespace polyscene::nn {

// What raw loops over rows grouped by scene share: activations, and the pieces that threads take.

inline constexpr int64_t kRows = 256;  // rows a task: sums are added in this order whatever the threads do
inline constexpr double kLeak = 0.01;

enum class Act : int64_t { kIdentity, kRelu, kLeaky, kTanh, kSigmoid };

// A piece of one scene: rows begin .. end.
struct Task {
  int64_t scene, begin, end;
};

inline std::vector<Task> tasks_of(const std::vector<int64_t>& offsets) {
  std::vector<Task> out;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (int64_t row = offsets[s]; row < offsets[s + 1]; row += kRows) {
      out.push_back({static_cast<int64_t>(s), row, std::min(row + kRows, offsets[s + 1])});
    }
  }
  return out;
}

template <typename Body>
void run(const std::vector<Task>& tasks, Body&& body) {
  at::parallel_for(0, static_cast<int64_t>(tasks.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) body(t, tasks[t]);
  });
}

template <typename T>
POLYSCENE_INLINE T activated(T x, Act act) {
  switch (act) {
    case Act::kRelu:
      return x > 0 ? x : T(0);
    case Act::kLeaky:
      return x > 0 ? x : T(kLeak) * x;
    case Act::kTanh:
      return std::tanh(x);
    case Act::kSigmoid:
      return 1 / (1 + std::exp(-x));
    default:
      return x;
  }
}

// d act / d x, from y = act(x).
template <typename T>
POLYSCENE_INLINE T slope(T y, Act act) {
  switch (act) {
    case Act::kRelu:
      return y > 0 ? T(1) : T(0);
    case Act::kLeaky:
      return y > 0 ? T(1) : T(kLeak);
    case Act::kTanh:
      return 1 - y * y;
    case Act::kSigmoid:
      return y * (1 - y);
    default:
      return 1;
  }
}

inline std::optional<Act> find_act(const std::string& name) {
  if (name == "identity") return Act::kIdentity;
  if (name == "relu") return Act::kRelu;
  if (name == "leaky_relu") return Act::kLeaky;
  if (name == "tanh") return Act::kTanh;
  if (name == "sigmoid") return Act::kSigmoid;
  return std::nullopt;
}

}  // namespace polyscene::nn
