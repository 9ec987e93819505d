#include "polyscene/eval/ranking.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "polyscene/core/memory.h"
#include "polyscene/core/random.h"
#include "polyscene/eval/asked.h"
#include "polyscene/eval/queries.h"
#include "polyscene/eval/ranks.h"
#include "polyscene/eval/scores_after.h"
#include "polyscene/eval/short_ranks.h"

namespace polyscene::eval {
namespace {

constexpr int64_t kScoresAtOnce = int64_t{1} << 22;  // scores that are held at once: the last cache takes them
constexpr int64_t kUsers = 1024;                     // and of at most so many users
constexpr int64_t kByPiece = 2048;                   // items of a scene that are worth ranking piece by piece
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Everything of one evaluation.
class Ranking {
 public:
  Ranking(models::Model& model, const data::Table& table, const RankingOptions& options)
      : model_(model), table_(table), options_(options), asked_(asked_of(options)) {
    const auto& schema = table.schema();
    TORCH_CHECK_VALUE(schema.digest() == model.schema().digest(), model.name(),
                      ": the table was encoded with another schema; read it with schema=model.schema");
    TORCH_CHECK_VALUE(schema.user >= 0 && schema.item >= 0,
                      "evaluate: rankings need a user and an item column; name them when the table is read");
    TORCH_CHECK_VALUE(table.size() > 0, "evaluate: the table has no rows");
    TORCH_CHECK_VALUE(options.candidates >= 0, "evaluate: candidates must be 'all' or a positive number, got ",
                      options.candidates);
    const auto history = table.history() ? table.history() : model.history();
    TORCH_CHECK_VALUE(history,
                      "evaluate: the table does not know the training rows; fit the model first, or take the "
                      "table from its data set");
    known_ = history->interactions();
  }

  RankingEvaluation run() {
    for (int64_t s = 0; s < known_->scenes(); ++s) {
      facts_.push_back(facts_of(known_->scene(s), known_->items()));
    }
    auto asked = follows() ? asked_by_rows(table_, facts_, options_.exclude_seen)
                           : asked_by_users(table_, *known_, facts_, options_.candidates > 0);
    queries_ = std::move(asked.queries);
    rows_ = std::move(asked.rows);
    out_.repeated = asked.repeated;
    out_.without_user = asked.without_user;
    const models::EvaluationMode evaluation(model_);
    const torch::NoGradGuard no_grad;
    keep_freed_memory();
    model_.encode();
    for (const auto& each : asked_) out_.summary.metrics.push_back(each.name);
    for (size_t s = 0; s < queries_.size(); ++s) {
      if (!queries_[s].empty()) scene(static_cast<int64_t>(s));
    }
    finish();
    return std::move(out_);
  }

 private:
  bool follows() const { return table_.schema().task == "sequence"; }

  void scene(int64_t s) {
    const auto& mine = queries_[s];
    const auto& known = known_->scene(s);
    const auto n = known.candidates.numel();
    const auto count = static_cast<int64_t>(mine.size());
    const auto metrics = asked_.size();
    const auto first = static_cast<int64_t>(values_.size() / std::max<size_t>(metrics, 1));
    values_.resize(values_.size() + mine.size() * metrics, kNaN);
    double* values = values_.data() + first * static_cast<int64_t>(metrics);
    int64_t longest = 0;
    for (const auto& each : asked_) {
      if (of_lists(each.kind)) longest = std::max(longest, each.k);
    }
    if (!longest && !follows() && options_.candidates == 0 && model_.scores_by_piece() && n >= kByPiece) {
      return by_piece(s, values);
    }
    std::vector<std::vector<int32_t>> lists(longest ? mine.size() : 0);
    const auto step = std::clamp<int64_t>(kScoresAtOnce / std::max<int64_t>(n, 1), 1, kUsers);
    for (int64_t begin = 0; begin < count; begin += step) {
      const auto end = std::min(count, begin + step);
      auto users = torch::empty({end - begin}, torch::kInt64), rows = torch::empty_like(users);
      for (auto q = begin; q < end; ++q) {
        users.data_ptr<int64_t>()[q - begin] = mine[q].user;
        rows.data_ptr<int64_t>()[q - begin] = mine[q].row;
      }
      torch::Tensor scores;
      data::Events events;
      if (n > 0 && follows()) {
        const auto batch = table_.batch(rows, false, kAllEvents);
        events = batch.history;
        scores = scores_after(model_, batch, s, known.candidates);
      } else if (n > 0) {
        scores = scores_for(model_, users, s, known.candidates);
      }
      float* score = n > 0 ? scores.data_ptr<float>() : nullptr;
      at::parallel_for(0, end - begin, 1, [&](int64_t from, int64_t to) {
        for (auto q = from; q < to; ++q) {
          if (events.defined() && options_.exclude_seen) leave_out(s, events, q, score + q * n);
          const bool fine = query(s, static_cast<size_t>(begin + q), score + q * n, n,
                                  values + (begin + q) * static_cast<int64_t>(metrics));
          check_numbers(fine, s, static_cast<size_t>(begin + q));
          if (longest) lists[begin + q] = best_places(score + q * n, n, longest);
        }
      });
    }
    if (longest) measure_lists(s, lists);
  }

  // Metrics of all queries of a scene, no further down than these look.
  void by_piece(int64_t s, double* values) {
    int64_t depth = 0;
    for (const auto& each : asked_) depth = std::max(depth, each.k);
    std::vector<const data::Interactions::Scene*> met;
    for (const auto* known : {known_.get(), table_.also_seen().get()}) {
      if (known) met.push_back(&known->scene(s));
    }
    std::vector<Sought> asking;
    for (const auto& query : queries_[s]) asking.push_back({query.user, &query.wanted});
    ShortRanks(model_, s, known_->scene(s), facts_[s], met, depth).of(asking, [&](size_t q, const auto& ranks) {
      check_numbers(std::none_of(ranks.begin(), ranks.end(), [](double rank) { return std::isnan(rank); }), s, q);
      measure(s, queries_[s][q], ranks, values + q * asked_.size());
    });
  }

  void check_numbers(bool fine, int64_t s, size_t number) const {
    TORCH_CHECK_VALUE(fine, model_.name(), ": a score of user row ", queries_[s][number].user, " in scene '",
                      name_of(s), "' is NaN");
  }

  std::string name_of(int64_t s) const { return scene_name(table_.schema(), s); }

  // Leaves out what row `row` of a block did before in the scene.
  void leave_out(int64_t s, const data::Events& events, int64_t row, float* scores) const {
    const auto* at = events.offsets.const_data_ptr<int64_t>() + row;
    for (auto e = at[0]; e < at[1]; ++e) {
      if (events.scene.const_data_ptr<int64_t>()[e] != s) continue;
      const auto place = facts_[s].place[events.item.const_data_ptr<int32_t>()[e]];
      if (place >= 0) scores[place] = kLeftOut;
    }
  }

  // Metrics of one query; leaves out of `scores` what the user knows. False when a score that is compared is NaN.
  bool query(int64_t s, size_t number, float* scores, int64_t n, double* values) const {
    const auto& query = queries_[s][number];
    const auto& place = facts_[s].place;
    for (const auto* known : {known_.get(), table_.also_seen().get()}) {
      if (!known || query.user < data::kFirstId || follows()) continue;
      for (const auto* item = known->scene(s).begin(query.user); item != known->scene(s).end(query.user); ++item) {
        if (place[*item] >= 0) scores[place[*item]] = kLeftOut;
      }
    }
    for (auto other = query.first; other < query.last; ++other) {
      const auto beside = queries_[s][other].wanted[0];
      if (other != number && beside >= 0) scores[beside] = kLeftOut;
    }
    // A rank tells of NaN by itself: another pass over the scores costs as much as ranking does.
    const bool told = options_.candidates == 0 &&
                      std::any_of(query.wanted.begin(), query.wanted.end(), [](int64_t wanted) { return wanted >= 0; });
    bool fine = told || !has_nan(scores, n);
    std::vector<double> ranks;
    std::vector<float> drawn;
    for (const auto wanted : query.wanted) {
      double rank = std::numeric_limits<double>::infinity();
      if (wanted >= 0) {
        const auto mine = scores[wanted];
        if (options_.candidates > 0) {
          scores[wanted] = kLeftOut;
          const RandomStream stream(options_.seed, "candidates", static_cast<uint64_t>(query.row));
          drawn = {mine};
          for (const auto other : drawn_places(scores, n, options_.candidates, stream)) drawn.push_back(scores[other]);
          scores[wanted] = mine;
          rank = rank_of(drawn.data(), static_cast<int64_t>(drawn.size()), mine);
        } else {
          rank = rank_of(scores, n, mine);
          fine = fine && !std::isnan(rank);
        }
      }
      ranks.push_back(rank);
    }
    measure(s, query, ranks, values);
    return fine;
  }

  // Metrics of one query from the ranks of what it wants.
  void measure(int64_t s, const Query& query, const std::vector<double>& of_wanted, double* values) const {
    Ranks ranks;
    for (size_t i = 0; i < of_wanted.size(); ++i) {
      const auto wanted = query.wanted[i];
      ranks.all.push_back(of_wanted[i]);
      (wanted >= 0 && facts_[s].head[wanted] ? ranks.head : ranks.tail).push_back(of_wanted[i]);
    }
    for (auto* some : {&ranks.all, &ranks.head, &ranks.tail}) std::sort(some->begin(), some->end());
    for (size_t m = 0; m < asked_.size(); ++m) {
      if (!of_lists(asked_[m].kind)) values[m] = value_of(asked_[m].kind, asked_[m].k, ranks);
    }
  }

  void measure_lists(int64_t s, const std::vector<std::vector<int32_t>>& lists) {
    const auto name = name_of(s);
    const auto& facts = facts_[s];
    for (const auto& each : asked_) {
      if (!of_lists(each.kind)) continue;
      std::vector<char> shown(facts.head.size());
      double places = 0;
      int64_t number = 0, covered = 0;
      for (const auto& list : lists) {
        for (int64_t i = 0; i < std::min<int64_t>(each.k, static_cast<int64_t>(list.size())); ++i) {
          covered += !shown[list[i]];
          shown[list[i]] = 1;
          places += facts.pop_place[list[i]];
          ++number;
        }
      }
      const bool coverage = each.kind == Kind::kCoverage;
      const auto of = coverage ? static_cast<double>(shown.size()) : static_cast<double>(number);
      const double value = of > 0 ? (coverage ? static_cast<double>(covered) : places) / of : kNaN;
      out_.summary.scenes[name][each.name] = value;
      auto& total = totals_[each.name];
      total.first += coverage ? static_cast<double>(covered) : places;
      total.second += of;
    }
  }

  void finish() {
    const auto metrics = asked_.size();
    int64_t total = 0;
    for (const auto& each : queries_) total += static_cast<int64_t>(each.size());
    auto& q = out_.queries;
    for (auto* column : {&q.scene, &q.user, &q.row, &q.positives, &q.unreachable, &q.known_here, &q.known_elsewhere}) {
      *column = torch::empty({total}, torch::kInt64);
    }
    int64_t at = 0;
    for (size_t s = 0; s < queries_.size(); ++s) {
      if (rows_[s] == 0) continue;
      out_.summary.scene_names.push_back(name_of(static_cast<int64_t>(s)));
      out_.summary.rows[name_of(static_cast<int64_t>(s))] = rows_[s];
      out_.users[name_of(static_cast<int64_t>(s))] = static_cast<int64_t>(queries_[s].size());
      for (const auto& each : queries_[s]) {
        q.scene.data_ptr<int64_t>()[at] = static_cast<int64_t>(s);
        q.user.data_ptr<int64_t>()[at] = each.code;
        q.row.data_ptr<int64_t>()[at] = each.row;
        q.positives.data_ptr<int64_t>()[at] = static_cast<int64_t>(each.wanted.size());
        q.unreachable.data_ptr<int64_t>()[at] = std::count(each.wanted.begin(), each.wanted.end(), -1);
        auto here = each.here, elsewhere = each.elsewhere;
        for (int64_t other = 0; other < known_->scenes() && each.user >= data::kFirstId && !follows(); ++other) {
          (other == static_cast<int64_t>(s) ? here : elsewhere) += known_->scene(other).degree(each.user);
        }
        q.known_here.data_ptr<int64_t>()[at] = here;
        q.known_elsewhere.data_ptr<int64_t>()[at] = elsewhere;
        ++at;
      }
    }
    const auto all = torch::tensor(values_, torch::kFloat64).view({total, static_cast<int64_t>(metrics)});
    for (size_t m = 0; m < metrics; ++m) summarise(asked_[m], all.select(1, static_cast<int64_t>(m)));
  }

  void summarise(const Asked& each, const torch::Tensor& values) {
    auto& summary = out_.summary;
    const bool whole = of_lists(each.kind);
    if (!whole) out_.queries.values[each.name] = values.contiguous();
    const auto mean = [](const torch::Tensor& some) {
      const auto there = some.masked_select(~some.isnan());
      return there.numel() ? there.mean().item<double>() : kNaN;
    };
    const auto put = [&](double value, const std::string& where) {
      if (std::isnan(value)) {
        summary.undefined[where + "." + each.name] = each.kind == Kind::kHeadRecall || each.kind == Kind::kTailRecall
                                                         ? "nobody wants such items"
                                                         : "no users to rank for";
      }
      return value;
    };
    double sum = 0;
    int64_t defined = 0;
    for (const auto& name : summary.scene_names) {
      auto& scenes = summary.scenes[name];
      if (!whole) {
        const auto s = std::find(table_.schema().scenes.begin(), table_.schema().scenes.end(), name) -
                       table_.schema().scenes.begin();
        scenes[each.name] = mean(values.masked_select(out_.queries.scene.eq(s)));
      } else if (!scenes.count(each.name)) {
        scenes[each.name] = kNaN;
      }
      const double value = put(scenes[each.name], "scenes." + name);
      if (std::isnan(value)) continue;
      sum += value;
      ++defined;
    }
    const auto total = totals_.find(each.name);
    summary.overall[each.name] = put(
        !whole
            ? mean(values)
            : (total != totals_.end() && total->second.second > 0 ? total->second.first / total->second.second : kNaN),
        "overall");
    summary.macro[each.name] = put(defined ? sum / static_cast<double>(defined) : kNaN, "macro");
  }

  models::Model& model_;
  const data::Table& table_;
  const RankingOptions& options_;
  std::vector<Asked> asked_;
  std::shared_ptr<const data::Interactions> known_;
  std::vector<CandidateFacts> facts_;                        // of each scene
  std::vector<std::vector<Query>> queries_;                  // of each scene
  std::vector<int64_t> rows_;                                // of each scene
  std::vector<double> values_;                               // [Q, metrics], scene by scene
  std::map<std::string, std::pair<double, double>> totals_;  // of lists: sum and what it is divided by
  RankingEvaluation out_;
};

}  // namespace

RankingEvaluation evaluate_ranking(models::Model& model, const data::Table& table, const RankingOptions& options) {
  return Ranking(model, table, options).run();
}

}  // namespace polyscene::eval
