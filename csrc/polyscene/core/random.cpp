#include "polyscene/core/random.h"

#include <cmath>
#include <numbers>
#include <numeric>

namespace polyscene {
namespace {

uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ (x >> 33);
}

}  // namespace

namespace detail {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

}  // namespace detail

uint64_t hash64(std::string_view text, uint64_t start) {
  uint64_t hash = start;
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3ull;
  return mix(hash);
}

RandomStream::RandomStream(uint64_t seed, std::string_view name, uint64_t index) {
  const uint64_t key = mix(seed ^ hash64(name));
  const uint64_t high = mix(hash64(name, seed) ^ mix(index + 0x9e3779b97f4a7c15ull));
  key_[0] = static_cast<uint32_t>(key);
  key_[1] = static_cast<uint32_t>(key >> 32);
  high_[0] = static_cast<uint32_t>(high);
  high_[1] = static_cast<uint32_t>(high >> 32);
}

uint64_t RandomStream::bits(uint64_t i) const {
  const auto out =
      detail::philox({static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32), high_[0], high_[1]}, key_[0], key_[1]);
  return uint64_t{out[0]} << 32 | out[1];
}

double RandomStream::uniform(uint64_t i) const { return static_cast<double>(bits(i) >> 11) * 0x1.0p-53; }

double RandomStream::normal(uint64_t i) const {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform(2 * i)));
  return radius * std::cos(2.0 * std::numbers::pi * uniform(2 * i + 1));
}

int64_t RandomStream::below(int64_t n, uint64_t i) const {
  return static_cast<int64_t>((static_cast<unsigned __int128>(bits(i)) * static_cast<uint64_t>(n)) >> 64);
}

std::vector<int64_t> permutation(int64_t n, const RandomStream& stream) {
  std::vector<int64_t> out(n);
  std::iota(out.begin(), out.end(), int64_t{0});
  // Draws do not depend on what was swapped before: they are made ahead, so that their places are on the way.
  constexpr int64_t kAhead = 32;
  int64_t drawn[kAhead];
  const auto draw = [&](int64_t i) {
    if (i <= 0) return;
    drawn[i % kAhead] = stream.below(i + 1, i);
    __builtin_prefetch(&out[drawn[i % kAhead]], 1);
  };
  for (int64_t i = n - 1; i > n - 1 - kAhead; --i) draw(i);
  for (int64_t i = n - 1; i > 0; --i) {
    std::swap(out[i], out[drawn[i % kAhead]]);
    draw(i - kAhead);
  }
  return out;
}

}  // namespace polyscene
