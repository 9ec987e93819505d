#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "polyscene/data/batch.h"

namespace polyscene::nn {

/// Where the rows of each scene lie in rows grouped by scene: scene s owns rows offsets[s] .. offsets[s + 1] - 1.
/// Empty scenes are legal.
struct SceneGroups {
  std::vector<int64_t> offsets = {0};  ///< [S + 1], ascending, from 0

  /// One group with all rows: what layers that every scene shares take.
  static SceneGroups all(int64_t rows) { return {{0, rows}}; }

  int64_t scenes() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t rows() const { return offsets.back(); }
  int64_t rows(int64_t scene) const { return offsets[scene + 1] - offsets[scene]; }
};

/// A batch whose rows are grouped by scene, and the way back.
struct GroupedBatch {
  data::Batch batch;
  SceneGroups groups;
  torch::Tensor back;  ///< int64 [B]: row b of the batch that was given is row back[b] here; undefined: the same order

  /// Rows [B, ...] in the order of the batch that was given.
  torch::Tensor ungroup(const torch::Tensor& rows) const { return back.defined() ? rows.index_select(0, back) : rows; }
};

/// Groups the rows by scene, stably; a batch that is grouped already is not copied. Throws IndexError for a scene
/// outside [0, scenes).
GroupedBatch group(const data::Batch& batch, int64_t scenes);

}  // namespace polyscene::nn
