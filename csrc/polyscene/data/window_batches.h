#pragma once

#include <optional>
#include <vector>

#include "polyscene/data/table.h"

namespace polyscene::data {

/// Walks the windows of a table of task sequence in batches: each row is the newest of a window, its history the events
/// of the window before it, `next_item` and `next_scene` what followed each of them. Windows are shuffled by (seed,
/// epoch), sorted by length within pools, cut into batches, and the batches shuffled, so that those of a batch are
/// about as long and padding is cheap. Windows within a scene carry nothing of the others. Of a table that holds some
/// of the training rows (of some scenes, a share) these alone are what follows: other events are seen, and `next_item`
/// is 0 where they follow. Threads do not matter.
class WindowBatches {
 public:
  /// `windows` and `table` must outlive it; `length` and `within_scene` are those of the windows.
  WindowBatches(const Table& table, const Windows& windows, int64_t length, int64_t batch_size, uint64_t seed,
                int64_t epoch, bool within_scene = false);
  std::optional<Batch> next();
  int64_t count() const { return static_cast<int64_t>(order_.size()); }  ///< number of batches

 private:
  // Which of the events before some rows are not the table's, bool [L].
  torch::Tensor others(const torch::Tensor& positions, int64_t length) const;

  const Table& table_;
  int64_t length_;
  bool within_scene_;
  torch::Tensor wanted_;                // int64, the table's rows, ascending; undefined when all training rows are its
  std::vector<torch::Tensor> batches_;  // int64, positions in the table
  std::vector<int64_t> longest_;        // events before a window's newest, the most of each batch
  std::vector<int64_t> order_;
  size_t given_ = 0;
};

/// The windows of a training table; with `within_scene` those of the events of each scene by themselves, whose
/// `Windows::length` counts what lies between them, too. Throws ValueError unless the table knows the order of its
/// users' events.
Windows windows_of(const Table& table, int64_t length, bool within_scene = false);

}  // namespace polyscene::data
