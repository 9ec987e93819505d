#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "polyscene/eval/ranking.h"
#include "polyscene/eval/ranks.h"

namespace polyscene::eval {

/// A metric of rankings that is asked for.
struct Asked {
  std::string name;  ///< "ndcg@10"
  Kind kind;
  int64_t k;
};

/// What the options ask for, each once: metrics without a cut-off at every k. Throws ValueError for unknown metrics and
/// for a k below 1.
std::vector<Asked> asked_of(const RankingOptions& options);

}  // namespace polyscene::eval
