#include "polyscene/eval/ranking.h"

#include <cmath>
#include <limits>

#include "../models/cross/tiny_ranking.h"
#include "catch.h"
#include "polyscene/eval/ranks.h"

using namespace polyscene;

namespace {

// Answers with a tensor of its own, [U, C]; the users of a block come in order.
class Held : public models::Model {
 public:
  using models::Model::Model;
  torch::Tensor forward(const data::Batch& batch) override { return torch::zeros({batch.size()}); }
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override {
    auto& mine = held[scene];
    if (!mine.defined()) mine = torch::arange(users.numel() * items.numel()).view({users.numel(), -1}).to(kind);
    return mine;
  }
  std::string name() const override { return "held"; }
  OptionMap options_map() const override { return {}; }

  std::map<int64_t, torch::Tensor> held;
  torch::ScalarType kind = torch::kFloat32;
};

// Three users meet some of four items in one scene, and want others.
std::shared_ptr<const data::Columns> columns(const torch::Tensor& codes) {
  auto out = std::make_shared<data::Columns>();
  out->rows = codes.size(0);
  out->categorical = {"user", "item"};
  out->codes = codes.to(torch::kInt32);
  out->ids = {data::Strings({"a", "b", "c"}), data::Strings({"w", "x", "y", "z"})};
  out->scene = torch::zeros({out->rows}, torch::kInt32);
  out->scene_names = {"only"};
  return out;
}

struct Asked {
  std::shared_ptr<const data::Schema> schema;
  data::Table test;
  Held model;
};

Asked asked(const torch::Tensor& wanted) {
  const auto train = columns(torch::tensor({{0, 0}, {1, 1}, {2, 2}, {2, 3}}));
  data::FitOptions options;
  options.task = "ranking";
  options.user = "user";
  options.item = "item";
  options.min_count = 1;
  const auto schema = data::fit_schema(*train, torch::arange(4), options);
  Held model(schema);
  model.prepare(data::Table(train, schema, {}, "train"));
  return {schema, data::Table(columns(wanted), schema, {}, "test"), std::move(model)};
}

}  // namespace

TEST_CASE("ranking: what a model keeps is as it was after an evaluation") {
  auto here = asked(torch::tensor({{0, 1}, {1, 3}, {2, 0}}));
  eval::RankingOptions options;
  options.metrics = {"ndcg"};
  const auto first = eval::evaluate_ranking(here.model, here.test, options);
  CHECK(here.model.held[0].isfinite().all().item<bool>());
  const auto again = eval::evaluate_ranking(here.model, here.test, options);
  CHECK(again.queries.values.at("ndcg@10").equal(first.queries.values.at("ndcg@10")));
  // Later items score higher: a wants x behind z and y, b wants z at the top, c wants w behind x.
  const auto second = 1 / std::log2(3.0);
  CHECK_THAT(first.queries.values.at("ndcg@10"),
             IsNear(torch::tensor({1 / std::log2(4.0), 1.0, second}, torch::kFloat64)));
}

TEST_CASE("ranking: rows that name no user are counted and left out") {
  auto here = asked(torch::tensor({{0, 1}, {-1, 3}, {-1, 2}, {0, 0}}));
  const auto found = eval::evaluate_ranking(here.model, here.test);
  CHECK(found.without_user == 2);
  CHECK(found.repeated == 1);
  CHECK(found.queries.user.equal(torch::tensor({0})));
  CHECK(found.summary.rows.at("only") == 4);
}

TEST_CASE("ranking: a positive among drawn candidates is ranked without the user's others") {
  auto here = asked(torch::tensor({{0, 1}, {0, 2}, {0, 3}}));
  eval::RankingOptions options;
  options.metrics = {"recall"};
  options.k = {1};
  options.candidates = 100;
  const auto found = eval::evaluate_ranking(here.model, here.test, options);
  // Nothing is left to draw from: each stands alone.
  CHECK(found.queries.values.at("recall@1").equal(torch::ones({3}, torch::kFloat64)));
}

TEST_CASE("ranks: places, ties and numbers that are none") {
  const std::vector<float> scores = {1, 3, 3, eval::kLeftOut, 2};
  CHECK(eval::rank_of(scores.data(), 5, 3) == 1.5);
  CHECK(eval::rank_of(scores.data(), 5, 1) == 4);
  CHECK(eval::best_places(scores.data(), 5, 3) == std::vector<int32_t>{1, 2, 4});
  CHECK(eval::best_places(scores.data(), 5, 9) == std::vector<int32_t>{1, 2, 4, 0});
  const std::vector<float> bad = {1, std::numeric_limits<float>::quiet_NaN()};
  CHECK(eval::has_nan(bad.data(), 2));
  CHECK_FALSE(eval::has_nan(scores.data(), 5));
  CHECK(std::isnan(eval::rank_of(bad.data(), 2, 1)));
}

TEST_CASE("ranks: metrics of one query") {
  const auto infinite = std::numeric_limits<double>::infinity();
  const eval::Ranks ranks{{2, 4, infinite}, {2}, {}};
  using eval::Kind;
  CHECK(eval::value_of(Kind::kRecall, 3, ranks) == 1.0 / 3);
  CHECK(eval::value_of(Kind::kPrecision, 3, ranks) == 1.0 / 3);
  CHECK(eval::value_of(Kind::kHit, 1, ranks) == 0);
  CHECK(eval::value_of(Kind::kMrr, 4, ranks) == 0.5);
  CHECK(eval::value_of(Kind::kMap, 4, ranks) == (1.0 / 2 + 2.0 / 4) / 3);
  CHECK(eval::value_of(Kind::kHeadRecall, 4, ranks) == 1);
  CHECK(std::isnan(eval::value_of(Kind::kTailRecall, 4, ranks)));
  CHECK(eval::query_metrics().size() + eval::list_metrics().size() == static_cast<size_t>(Kind::kPopRank) + 1);
  CHECK(eval::query_metrics()[static_cast<size_t>(Kind::kTailRecall)] == "tail_recall");
}
