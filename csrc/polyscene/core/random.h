#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace polyscene {

/// Counter-based random numbers: number i of a stream is a pure function of (seed, name, index, i), so results never
/// depend on the number of threads or on the order of calls (Philox 4x32-10: Salmon et al., SC 2011).
class RandomStream {
 public:
  /// A stream for each purpose (`name`, e.g. "shuffle") and instance of it (`index`, e.g. the epoch).
  RandomStream(uint64_t seed, std::string_view name, uint64_t index = 0);

  /// 64 random bits, number `i` of the stream.
  uint64_t bits(uint64_t i) const;
  /// Uniform in [0, 1), 53 bits.
  double uniform(uint64_t i) const;
  /// Standard normal (Box-Muller on numbers 2i and 2i + 1).
  double normal(uint64_t i) const;
  /// Uniform in [0, n); the bias is below n / 2^64.
  int64_t below(int64_t n, uint64_t i) const;

 private:
  uint32_t key_[2];
  uint32_t high_[2];
};

/// A uniform permutation of 0..n-1 (Fisher-Yates).
std::vector<int64_t> permutation(int64_t n, const RandomStream& stream);

/// A 64-bit hash of text (FNV-1a with a final mix); stable across platforms and versions.
uint64_t hash64(std::string_view text, uint64_t start = 0xcbf29ce484222325ull);

namespace detail {

/// One block of Philox 4x32-10 under the key (k0, k1).
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, uint32_t k0, uint32_t k1);

}  // namespace detail
}  // namespace polyscene
