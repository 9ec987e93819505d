#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "polyscene/core/random.h"

namespace polyscene::data {

/// The order in which an epoch takes n rows that are too many to be shuffled at once.
///
/// The rows are cut into blocks of neighbours; the blocks are put into a random order and divided evenly into windows
/// of at most `window` rows; the rows of a window are shuffled. Every row occurs once; rows of one block stay within
/// one window. A pure function of (rows, window, seed, epoch): threads do not matter, any window can be made by itself,
/// and an order takes memory for one window, not for n rows.
class WindowShuffle {
 public:
  /// Throws ValueError unless `window` is positive.
  WindowShuffle(int64_t rows, int64_t window, uint64_t seed, int64_t epoch);

  int64_t windows() const { return windows_; }
  int64_t block_rows() const { return block_; }
  /// Ranges [begin, end) of the rows of window w, a range a block.
  std::vector<std::pair<int64_t, int64_t>> blocks(int64_t w) const;
  /// The rows of window w in their order.
  std::vector<int64_t> order(int64_t w) const;

 private:
  int64_t rows_, block_ = 1, windows_ = 1;
  RandomStream stream_;
  std::vector<int64_t> blocks_;  ///< the blocks in the order of the epoch
  std::vector<int64_t> first_;   ///< [windows + 1], place in the epoch of each window's first row
};

}  // namespace polyscene::data
