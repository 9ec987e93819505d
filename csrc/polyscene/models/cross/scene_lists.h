#pragma once

#include <torch/torch.h>

#include "polyscene/data/interactions.h"

namespace polyscene::models {

/// Whom each user met in each scene (or, of items, who met them), in a form that whole batches read at once.
/// S scenes, n rows of a batch.
class SceneLists {
 public:
  SceneLists() = default;
  /// Nothing known: of `ids` users or items.
  SceneLists(int64_t scenes, int64_t ids);
  /// `of_items`: the users of each item. `keep` [S, ids of what is listed], bool: what stays in the lists; undefined:
  /// all.
  explicit SceneLists(const data::Interactions& known, bool of_items = false, const torch::Tensor& keep = {});

  /// Entries of each, int64 [n, S].
  torch::Tensor counts(const torch::Tensor& id) const { return counts_.index_select(1, id).t(); }
  /// One entry of each list at random, int64 [n, S]; 0 for an empty one.
  torch::Tensor drawn(const torch::Tensor& id) const;
  /// Entries of the lists that `wanted` [n, S] names, one list after another, and where each list begins, [n S].
  std::pair<torch::Tensor, torch::Tensor> all(const torch::Tensor& id, const torch::Tensor& wanted) const;
  /// `length` entries at most of one list a row, evenly spread over longer ones: int64 [n, length] and which of them
  /// there are, bool.
  std::pair<torch::Tensor, torch::Tensor> padded(const torch::Tensor& id, const torch::Tensor& scene,
                                                 int64_t length) const;

 private:
  torch::Tensor starts_, counts_;  // int64 [S, ids]
  torch::Tensor codes_;            // int32
};

}  // namespace polyscene::models
