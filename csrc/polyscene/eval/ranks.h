#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "polyscene/core/random.h"
#include "polyscene/data/interactions.h"

namespace polyscene::eval {

/// Score of a candidate that is left out of a ranking.
inline constexpr float kLeftOut = -std::numeric_limits<float>::infinity();

/// What the items of one scene are worth, by their place among its candidates.
struct CandidateFacts {
  std::vector<int32_t> place;    ///< item row -> place among the candidates, -1 for none
  std::vector<char> head;        ///< whether it is among those that take the first 80 % of the pairs
  std::vector<float> pop_place;  ///< 0 most popular, 1 least; ties share theirs
};
CandidateFacts facts_of(const data::Interactions::Scene& scene, int64_t items);

bool has_nan(const float* scores, int64_t n);

/// How a score stands among others.
struct Compared {
  int64_t better = 0, same = 0, nan = 0;

  Compared& operator+=(const Compared& more) {
    better += more.better, same += more.same, nan += more.nan;
    return *this;
  }
};
Compared compared(const float* scores, int64_t n, float mine);

/// 1 + better + ties / 2 after what a score was compared with, itself not among it; NaN when one of those is.
double rank_after(const Compared& others);
/// The same among n scores, of which one is `mine`.
double rank_of(const float* scores, int64_t n, float mine);

/// Ranks of what one query wants, ascending; infinite for what cannot be ranked.
struct Ranks {
  std::vector<double> all, head, tail;
};

/// Metrics of one query and, from coverage on, those of lists; their names come in the same order.
enum class Kind : uint8_t {
  kRecall,
  kPrecision,
  kF1,
  kHit,
  kNdcg,
  kMrr,
  kMap,
  kHeadRecall,
  kTailRecall,
  kCoverage,
  kPopRank
};
inline bool of_lists(Kind kind) { return kind >= Kind::kCoverage; }
const std::vector<std::string>& query_metrics();
const std::vector<std::string>& list_metrics();
/// A metric of one query at cut-off k; NaN where the query wants nothing of the kind.
double value_of(Kind kind, int64_t k, const Ranks& ranks);

/// Places of the k best of n scores, best first, equal ones by place, without those that are left out.
std::vector<int32_t> best_places(const float* scores, int64_t n, int64_t k);

/// Places of `count` different candidates that are not left out, drawn alike; all where there are no more.
std::vector<int32_t> drawn_places(const float* scores, int64_t n, int64_t count, const RandomStream& stream);

}  // namespace polyscene::eval
