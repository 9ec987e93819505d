#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "polyscene/data/batch.h"

namespace polyscene::models {

/// The forward of task sequence: scores [B, C] of the items of each row's scene, C the most of any scene among the
/// rows; those of smaller scenes end in -inf. `score` makes [n, C of the scene] from positions of rows (int64 [n]) and
/// their scene.
template <typename Score>
torch::Tensor scene_scores(const data::Batch& batch, int64_t scenes, Score&& score) {
  std::vector<torch::Tensor> parts, rows;
  int64_t most = 0;
  for (int64_t s = 0; s < scenes; ++s) {
    const auto mine = batch.scene.eq(s).nonzero().squeeze(1);
    if (mine.numel() == 0) continue;
    parts.push_back(score(mine, s));
    rows.push_back(mine);
    most = std::max(most, parts.back().size(1));
  }
  if (parts.empty()) return torch::empty({0, 0});
  for (auto& part : parts) {
    if (part.size(1) < most) {
      part = torch::constant_pad_nd(part, {0, most - part.size(1)}, -std::numeric_limits<double>::infinity());
    }
  }
  return parts.size() == 1 ? parts[0] : torch::cat(parts).index_select(0, torch::cat(rows).argsort());
}

}  // namespace polyscene::models
