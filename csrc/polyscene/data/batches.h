#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "polyscene/data/table_pages.h"
#include "polyscene/data/window_shuffle.h"

namespace polyscene::data {

/// Rows that a streamed table shuffles together, unless told otherwise.
inline constexpr int64_t kWindowRows = int64_t{1} << 22;

/// Rows that are shuffled together: `wanted`, or for 0 `kWindowRows` of a table that streams. 0: all rows at once.
int64_t shuffle_window(const Table& table, int64_t wanted);

/// Walks a table in batches grouped by scene: shuffled by (seed, epoch), all rows at once or (`window` > 0) in windows
/// that are fetched from the file while the one before is used and given back when they were used; or in table order.
class Batches {
 public:
  Batches(const Table& table, int64_t batch_size, bool shuffle, uint64_t seed, int64_t epoch, int64_t history,
          int64_t window = 0);
  std::optional<Batch> next();
  int64_t count() const;  ///< number of batches

 private:
  using Ranges = std::vector<std::pair<int64_t, int64_t>>;

  const Table& table_;
  int64_t batch_size_;
  int64_t history_;
  int64_t position_ = 0;
  std::optional<RandomStream> shared_;
  torch::Tensor order_;  ///< int64, of all rows or of one window, when shuffled

  std::optional<WindowShuffle> windows_;
  std::optional<TablePages> pages_;
  int64_t window_ = 0;                 ///< number of the window in `order_`
  int64_t taken_ = 0;                  ///< rows of `order_` that were given
  Ranges past_, next_;                 ///< blocks of the windows before and after it
  size_t released_ = 0, fetched_ = 0;  ///< how many of them

  torch::Tensor take(int64_t count);
  void start_window(int64_t w);
  void advise();
};

}  // namespace polyscene::data
