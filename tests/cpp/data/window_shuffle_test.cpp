#include "polyscene/data/window_shuffle.h"

#include <algorithm>
#include <set>

#include "catch.h"

using polyscene::data::WindowShuffle;

TEST_CASE("WindowShuffle: every row stands in one window, no window is larger than wanted") {
  for (const int64_t rows : {1, 15, 16, 1'000, 70'001}) {
    for (const int64_t window : {1, 16, 100, 999, 100'000}) {
      const WindowShuffle shuffle(rows, window, 3, 1);
      std::vector<int64_t> all;
      for (int64_t w = 0; w < shuffle.windows(); ++w) {
        const auto order = shuffle.order(w);
        CHECK(static_cast<int64_t>(order.size()) <= window);
        int64_t of_blocks = 0;
        for (const auto& [begin, end] : shuffle.blocks(w)) of_blocks += end - begin;
        CHECK(of_blocks == static_cast<int64_t>(order.size()));
        all.insert(all.end(), order.begin(), order.end());
      }
      std::sort(all.begin(), all.end());
      REQUIRE(static_cast<int64_t>(all.size()) == rows);
      for (int64_t row = 0; row < rows; ++row) REQUIRE(all[row] == row);
    }
  }
}

TEST_CASE("WindowShuffle: a window is the same whether the others were made or not") {
  const WindowShuffle first(5'000, 500, 7, 2), second(5'000, 500, 7, 2);
  for (int64_t w = 0; w < first.windows(); ++w) (void)first.order(w);
  CHECK(first.order(6) == second.order(6));
  CHECK(first.order(6) != WindowShuffle(5'000, 500, 7, 3).order(6));
  CHECK(first.order(6) != WindowShuffle(5'000, 500, 8, 2).order(6));
}

TEST_CASE("WindowShuffle: windows are even, blocks never fewer than sixteen in one") {
  const WindowShuffle shuffle(int64_t{98'000'000}, int64_t{1} << 22, 1, 1);
  CHECK(shuffle.block_rows() == 65'536);
  CHECK(shuffle.windows() == 24);
  for (int64_t w = 0; w < shuffle.windows(); ++w) {
    const auto blocks = shuffle.blocks(w).size();
    CHECK((blocks == 62 || blocks == 63));
  }
  CHECK(WindowShuffle(10'000, 160, 1, 1).block_rows() == 10);
}

TEST_CASE("WindowShuffle: no window is refused") {
  CHECK_THROWS_WITH(WindowShuffle(10, 0, 1, 1), ContainsSubstring("must be positive, got 0"));
}
