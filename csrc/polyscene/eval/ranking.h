#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "polyscene/data/table.h"
#include "polyscene/eval/scene_metrics.h"
#include "polyscene/models/base.h"

namespace polyscene::eval {

/// What `evaluate_ranking` measures and how.
struct RankingOptions {
  std::vector<std::string> metrics = {};  ///< such as "ndcg@10" or "ndcg" (at every k); empty: all at every k
  std::vector<int64_t> k = {10};
  int64_t candidates =
      0;  ///< 0: all items of the scene; n: each positive against n of them that the user neither met nor wants
  uint64_t seed = 0;         ///< of the sampled candidates
  bool exclude_seen = true;  ///< of task sequence: leave out items of the row's own history
};

/// Values of each query: a user in a scene, or a positive when candidates are sampled, or a row of task sequence. Q
/// queries.
struct Queries {
  torch::Tensor scene;        ///< int64 [Q], scene of the schema
  torch::Tensor user;         ///< int64 [Q], code of the user in the source of the table
  torch::Tensor row;          ///< int64 [Q], the first row of the table that asks it
  torch::Tensor positives;    ///< int64 [Q], wanted items, those that cannot be ranked included
  torch::Tensor unreachable;  ///< int64 [Q], of them without training rows in the scene
  torch::Tensor known_here;   ///< int64 [Q], training items of the user in the scene; in task sequence events before
  torch::Tensor known_elsewhere;                ///< int64 [Q], and in the other scenes
  std::map<std::string, torch::Tensor> values;  ///< metric -> float64 [Q]
};

/// Overall pools all queries, macro is the mean over scenes; `Evaluation::rows` counts rows.
struct RankingEvaluation {
  Evaluation summary;
  std::map<std::string, int64_t> users;  ///< scene -> queries
  int64_t repeated = 0;                  ///< rows left out because the user met the item in training (or validation)
  int64_t without_user = 0;              ///< rows left out because they name no user
  Queries queries;
};

/// Metrics of rankings; each is asked for with "@k".
std::vector<std::string> ranking_metrics();
/// Throws ValueError for unknown metrics and for a k below 1.
void check_ranking(const RankingOptions& options);

/// Ranks, for every user with rows in a scene, the items with training rows there and measures where those of the
/// table's rows come. What the user met in training rows of the scene (and `Table::also_seen`) is left out.
///
///   rank = 1 + better + ties / 2                                    a constant score earns nothing by its order
///   recall@k = hits / |P|, precision@k = hits / k, hit@k = [hits > 0], f1@k their harmonic mean per user
///   ndcg@k = sum_{r <= k} 1 / log2(r + 1) / sum_{j = 1..min(k, |P|)} 1 / log2(j + 1)
///   mrr@k = 1 / rank of the first hit, map@k = sum_{hits} (hits so far / r) / min(k, |P|)
///   head_recall@k, tail_recall@k: recall of the items that take the first 80 % of the scene's training pairs, and of
///   the others; NaN for users who want none
///   coverage@k = share of the scene's items in anybody's first k
///   pop_rank@k = mean place of the first k by popularity in the scene, from 0 (the most popular) to 1
///
/// In task sequence each row is a query of its own: one wanted item, ranked after what its user did strictly before it.
/// Items of that history in the scene are left out; rows that want one of them are counted as repeated. Without
/// `exclude_seen` nothing is left out.
///
/// A wanted item without training rows in the scene is a miss. Rows that name no user are left out. Users are scored in
/// blocks, so that memory does not grow with them; results depend neither on threads nor on blocks. Throws ValueError
/// for unknown metrics, a k below 1, a table without users, items, rows or training behaviour, and for a score that is
/// NaN.
RankingEvaluation evaluate_ranking(models::Model& model, const data::Table& table, const RankingOptions& options = {});

}  // namespace polyscene::eval
