#include "polyscene/core/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <set>

#include "catch.h"

using namespace polyscene;

// Vectors of Random123's known-answer file for philox4x32, 10 rounds.
TEST_CASE("random: Philox gives the published numbers") {
  using Block = std::array<uint32_t, 4>;
  CHECK(polyscene::detail::philox({0, 0, 0, 0}, 0, 0) == (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK(polyscene::detail::philox({~0u, ~0u, ~0u, ~0u}, ~0u, ~0u) ==
        (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK(polyscene::detail::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: uniform numbers fill [0, 1) evenly") {
  const RandomStream stream(1, "test");
  constexpr int kNumbers = 200'000;
  std::array<int, 20> bins{};
  double product = 0;
  for (int i = 0; i < kNumbers; ++i) {
    const auto x = stream.uniform(i);
    REQUIRE(x >= 0);
    REQUIRE(x < 1);
    ++bins[static_cast<size_t>(20 * x)];
    product += (x - 0.5) * (stream.uniform(i + 1) - 0.5);
  }
  double chi_square = 0;
  for (const auto count : bins) chi_square += std::pow(count - kNumbers / 20.0, 2) / (kNumbers / 20.0);
  CHECK(chi_square < 43.8);  // 0.999 quantile with 19 degrees of freedom
  CHECK(std::abs(product / kNumbers) < 4 / 12.0 / std::sqrt(kNumbers));
}

TEST_CASE("random: normal numbers have the moments of the normal distribution") {
  const RandomStream stream(2, "test");
  constexpr int kNumbers = 100'000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < kNumbers; ++i) {
    const auto x = stream.normal(i);
    sum += x, squares += x * x, fourth += x * x * x * x;
  }
  CHECK(std::abs(sum / kNumbers) < 4 / std::sqrt(kNumbers));
  CHECK(squares / kNumbers == Approx(1).margin(4 * std::sqrt(2.0 / kNumbers)));
  CHECK(fourth / kNumbers == Approx(3).margin(4 * std::sqrt(96.0 / kNumbers)));
}

TEST_CASE("random: streams of other seeds, names and indices are unrelated") {
  const RandomStream base(7, "shuffle", 0);
  CHECK(RandomStream(7, "shuffle", 0).bits(5) == base.bits(5));
  std::vector<RandomStream> others;
  for (uint64_t i = 1; i < 50; ++i) {
    others.emplace_back(7, "shuffle", i);
    others.emplace_back(7 + i, "shuffle", 0);
    others.emplace_back(7, "shuffle" + std::to_string(i), 0);
  }
  std::set<uint64_t> seen = {base.bits(0)};
  for (const auto& other : others) {
    seen.insert(other.bits(0));
    int equal_bits = 0;
    for (int i = 0; i < 100; ++i) equal_bits += 64 - std::popcount(other.bits(i) ^ base.bits(i));
    CHECK(std::abs(equal_bits - 3200) < 5 * 40);  // 6400 fair coins have a deviation of 40
  }
  CHECK(seen.size() == others.size() + 1);
}

TEST_CASE("random: below reaches every number about equally often") {
  const RandomStream stream(3, "test");
  std::array<int, 7> counts{};
  for (int i = 0; i < 70'000; ++i) {
    const auto x = stream.below(7, i);
    REQUIRE(x >= 0);
    REQUIRE(x < 7);
    ++counts[static_cast<size_t>(x)];
  }
  for (const auto count : counts) CHECK(std::abs(count - 10'000) < 4.5 * std::sqrt(10'000 * 6.0 / 7));
  CHECK(stream.below(1, 9) == 0);
}

TEST_CASE("random: permutations are permutations, all equally likely") {
  std::map<std::vector<int64_t>, int> counts;
  for (uint64_t i = 0; i < 24'000; ++i) ++counts[permutation(4, RandomStream(4, "test", i))];
  CHECK(counts.size() == 24);
  for (const auto& [order, count] : counts) {
    auto sorted = order;
    std::sort(sorted.begin(), sorted.end());
    CHECK(sorted == std::vector<int64_t>{0, 1, 2, 3});
    CHECK(std::abs(count - 1000) < 4.5 * std::sqrt(1000.0));
  }
  CHECK(permutation(0, RandomStream(4, "test")).empty());
}

TEST_CASE("random: hashes do not change between versions") {
  CHECK(hash64("") == 0xefd01f60ba992926ull);
  CHECK(hash64("user_id") == 0xaeb8867459a795b5ull);
  CHECK(hash64("a") != hash64("b"));
}
