#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <vector>

#include "polyscene/data/batch.h"

namespace polyscene::data {

/// Cuts `events` (rows of the source, in order) into windows of at most `length` + 1, the newest first, so that each of
/// [wanted, wanted_end) (ascending) but the first event follows the others in exactly one of them. Calls put(first,
/// last, place): events first to last make a window, and the last is wanted[place].
/// Throws ValueError unless `length` is positive.
template <typename Put>
void cut_windows(const std::vector<int64_t>& events, const int64_t* wanted, const int64_t* wanted_end, int64_t length,
                 Put&& put) {
  TORCH_CHECK_VALUE(length > 0, "Sequences: windows must have room for a past event, got length ", length);
  for (auto last = static_cast<int64_t>(events.size()) - 1; last > 0;) {
    const auto* found = std::lower_bound(wanted, wanted_end, events[last]);
    if (found == wanted_end || *found != events[last]) {
      --last;
      continue;
    }
    put(std::max<int64_t>(last - length, 0), last, found - wanted);
    last -= length;
  }
}

/// Sets `next_item` and `next_scene`, what follows each event of a batch's history: the next one in it, and the row's
/// own after the last.
inline void add_next(Batch& batch) {
  const auto& events = batch.history;
  const auto last = events.offsets.slice(0, 1) - 1;
  const auto rows = events.offsets.diff().gt(0).nonzero().squeeze(1);
  const auto shifted = [&](const torch::Tensor& of_events, const torch::Tensor& own) {
    auto next = torch::zeros({of_events.numel()}, torch::kInt64);
    if (of_events.numel() > 1) next.slice(0, 0, -1).copy_(of_events.slice(0, 1));
    return next.index_copy_(0, last.index_select(0, rows), own.index_select(0, rows));
  };
  batch.next_item = shifted(events.item, batch.item);
  batch.next_scene = shifted(events.scene, batch.scene);
}

}  // namespace polyscene::data
