#pragma once

#include <memory>
#include <string>
#include <vector>

#include "polyscene/core/random.h"
#include "polyscene/data/batch.h"
#include "polyscene/data/interactions.h"

namespace polyscene::data {

/// Which items a model wants to see beside that of each training row.
struct Sampling {
  int64_t negatives = 0;         ///< N, for each row; 0: none
  std::string from = "uniform";  ///< "uniform", "popularity" or "in_batch"
  double exponent = 0.75;        ///< of an item's count, for "popularity" (Mikolov et al., NeurIPS 2013)
};

/// Draws items that a user did not meet in the row's scene, among those with training rows there.
///
///   uniform:    every unseen item alike, without trial and error
///   popularity: in proportion to (training users of the item in the scene)^exponent
///   in_batch:   the item of another row of the batch and scene, every row alike
///
/// A number is a function of (seed, epoch, row of the table, place): results depend neither on threads nor, but for
/// in_batch, on what else a batch holds. A user who met every item of the scene gets any of them.
class Negatives {
 public:
  /// Throws ValueError for an unknown source, a negative count, or an exponent that is no number of 0 or more.
  Negatives(std::shared_ptr<const Interactions> known, Sampling sampling);

  /// Items int64 [B, N] for the rows of a batch; only user, item, scene and row are read.
  torch::Tensor draw(const Batch& batch, const RandomStream& stream) const;
  /// Items int64 [L, N] beside what followed each event of the history: `Batch::next_negative`. What a user met counts
  /// in the scene of the item that followed.
  torch::Tensor draw_next(const Batch& batch, const RandomStream& stream) const;

 private:
  // Of one scene, as plain memory: a draw reads little, and reaching into tensors would be most of it.
  struct Scene {
    const int64_t* candidates;
    const int64_t* offsets;          // of users
    int64_t count;                   // C
    std::vector<int32_t> seen;       // places among the candidates of what users met, as in Interactions::Scene::items
    std::vector<double> cumulative;  // [C], weights of candidates added up, for "popularity"
  };

  int64_t uniform(int64_t scene, int64_t user, const RandomStream& stream, uint64_t number) const;
  int64_t popular(int64_t scene, int64_t user, const RandomStream& stream, uint64_t number) const;

  std::shared_ptr<const Interactions> known_;
  Sampling sampling_;
  std::vector<Scene> scenes_;
};

}  // namespace polyscene::data
