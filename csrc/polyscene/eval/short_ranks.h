#pragma once

#include <functional>
#include <vector>

#include "polyscene/eval/ranks.h"
#include "polyscene/models/base.h"

namespace polyscene::eval {

/// What a user wants in a scene.
struct Sought {
  int64_t user;                        ///< row of the vocabulary
  const std::vector<int64_t>* wanted;  ///< places among the scene's candidates; -1 for an item that is none
};

/// Ranks down to a depth, for metrics that ask no further. Candidates are scored piece by piece, popular ones first;
/// who has `depth` of them ahead of all that is wanted needs no more scores. Of most users that is so after a small
/// part of the candidates. The first user meets all of them, so that an item whose scores are NaN is told.
class ShortRanks {
 public:
  /// Candidates of `known`, each user's without what it met in `met`.
  ShortRanks(models::Model& model, int64_t scene, const data::Interactions::Scene& known, const CandidateFacts& facts,
             std::vector<const data::Interactions::Scene*> met, int64_t depth);

  /// Calls tell(number, ranks) for each that asks: a rank for each wanted item, infinite beyond the depth, NaN when a
  /// score that was met is. Calls come from several threads, one a number.
  using Tell = std::function<void(size_t number, std::vector<double> ranks)>;
  void of(const std::vector<Sought>& asking, const Tell& tell);

 private:
  struct Standing;

  void block(const std::vector<Sought>& asking, size_t begin, size_t end, const Tell& tell);
  void piece(const std::vector<Sought>& asking, const std::vector<size_t>& active, std::vector<int64_t> places,
             std::vector<Standing>& found, size_t begin);

  models::Model& model_;
  int64_t scene_;
  torch::Tensor candidates_;
  const CandidateFacts& facts_;
  std::vector<const data::Interactions::Scene*> met_;
  int64_t depth_;
  std::vector<int64_t> popular_first_;  // places
  std::vector<int32_t> column_;         // of each place in the piece, -1 where it is not there
};

}  // namespace polyscene::eval
