#pragma once

#include <torch/torch.h>

#include "polyscene/data/interactions.h"

namespace polyscene::models {

/// What users met, as short contexts: of some scenes, without one pair, all of it or a sample, whole batches at once.
/// S scenes, U user rows, I item rows, n rows of a batch, L entries.
class UserContexts {
 public:
  /// Items of a context as rows of a table of I rows a scene.
  struct Context {
    torch::Tensor place;  ///< int64 [n, L], scene * I + item; 0 where nothing is
    torch::Tensor there;  ///< bool [n, L]
  };

  UserContexts() = default;
  /// Nothing known.
  UserContexts(int64_t scenes, int64_t users, int64_t items);
  explicit UserContexts(const data::Interactions& known);

  /// Items of each user in each scene, int64 [n, S].
  torch::Tensor counts(const torch::Tensor& user) const { return counts_.index_select(1, user).t(); }
  /// Where pairs lie among the known ones, int64 [n]; -1 for those that are not known.
  torch::Tensor find(const torch::Tensor& user, const torch::Tensor& item, const torch::Tensor& scene) const;
  /// At most `length` items of each user in the scenes `wanted` [n, S], bool, evenly spread over more of them; among
  /// them not `left_out` [n], as `find` gives it (undefined: none).
  Context evenly(const torch::Tensor& user, const torch::Tensor& wanted, const torch::Tensor& left_out,
                 int64_t length) const;
  /// At most `length` of a share 1 - `masked` of them (by torch's generator; a fraction of one by chance), every one
  /// alike; `left_out`, a pair of the one wanted scene, does not count.
  Context sample(const torch::Tensor& user, const torch::Tensor& wanted, const torch::Tensor& left_out, int64_t length,
                 double masked) const;

 private:
  // Where entries lie among the known pairs, from their positions in the lists of the scenes of `count` [n, S].
  torch::Tensor places(const torch::Tensor& position, const torch::Tensor& user, const torch::Tensor& count) const;
  Context items_at(const torch::Tensor& place, const torch::Tensor& there) const;

  torch::Tensor starts_, counts_;  // int64 [S, U]
  torch::Tensor keys_;             // int64, (scene U + user) I + item, ascending
  int64_t items_ = 0;
};

}  // namespace polyscene::models
