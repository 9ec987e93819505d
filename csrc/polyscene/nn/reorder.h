#pragma once

#include <torch/torch.h>

#include "polyscene/nn/scene_groups.h"

namespace polyscene::nn {

/// Rows sorted by a code, and the way back.
struct RowOrder {
  SceneGroups groups;   ///< where the rows of each code lie
  torch::Tensor order;  ///< int64 [B]: row j of the sorted ones is row order[j] of the given ones
  torch::Tensor back;   ///< int64 [B]: row b of the given ones is row back[b] of the sorted ones

  /// Given rows [B, ...], sorted. Its gradient gathers too, where that of index_select adds up row by row.
  torch::Tensor sort(const torch::Tensor& rows) const;
  /// Sorted rows [B, ...] as they were given.
  torch::Tensor unsort(const torch::Tensor& rows) const;
};

/// Groups rows by a code of each, int64 [B], stably: what sends rows to parts that are chosen row by row, each of which
/// then costs one GEMM. Throws IndexError for a code outside [0, codes); `what` and `where` are its words for
/// codes and rows.
RowOrder order_by(const torch::Tensor& code, int64_t codes, const char* what = "order_by: codes",
                  const char* where = "row");

}  // namespace polyscene::nn
