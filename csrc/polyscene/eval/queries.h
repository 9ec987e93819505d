#pragma once

#include <limits>
#include <vector>

#include "polyscene/data/table.h"
#include "polyscene/eval/ranks.h"

namespace polyscene::eval {

/// Past events of a row, where all of them are wanted.
inline constexpr int64_t kAllEvents = std::numeric_limits<int32_t>::max();

/// A user in a scene, and what the table's rows want for it.
struct Query {
  int64_t user = 0;  ///< row of the vocabulary
  int64_t code = 0, row = 0;
  std::vector<int64_t> wanted;      ///< places among the scene's candidates; -1 for an item that is none
  size_t first = 0, last = 0;       ///< the user's queries in the scene, where each positive is one: [first, last)
  int64_t here = 0, elsewhere = 0;  ///< what is known of the user, in the scene and in others
};

/// What the rows of a table ask.
struct Collected {
  explicit Collected(size_t scenes) : queries(scenes), rows(scenes) {}

  std::vector<std::vector<Query>> queries;  ///< of each scene
  std::vector<int64_t> rows;                ///< of each scene
  int64_t repeated = 0;                     ///< rows left out since the user met the item before
  int64_t without_user = 0;                 ///< rows left out since they name no user
};

/// Each row is a query, after what its user did before. Throws ValueError for a table that does not know that.
Collected asked_by_rows(const data::Table& table, const std::vector<CandidateFacts>& facts, bool exclude_seen);

/// Rows grouped by scene and user, or with `alone` each by itself; wanted items once.
Collected asked_by_users(const data::Table& table, const data::Interactions& known,
                         const std::vector<CandidateFacts>& facts, bool alone);

}  // namespace polyscene::eval
