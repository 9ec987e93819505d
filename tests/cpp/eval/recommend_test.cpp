#include "polyscene/eval/recommend.h"

#include <cmath>

#include "../models/cross/tiny_ranking.h"
#include "catch.h"
#include "polyscene/eval/met.h"
#include "polyscene/eval/reasons.h"
#include "polyscene/eval/similar.h"
#include "polyscene/models/registry.h"

using namespace polyscene;

namespace {

std::shared_ptr<models::Model> fitted(const std::string& name) {
  const auto schema = tiny_ranking_schema();
  const auto train = tiny_table(schema);
  auto model = models::create(name, schema);
  model->prepare(train);
  model->fit_closed_form(train);
  return model;
}

// One person's events in the first scene.
data::Events events(const std::vector<int64_t>& items) {
  const auto n = static_cast<int64_t>(items.size());
  return {torch::tensor({int64_t{0}, n}),   torch::tensor(items, torch::kInt32),
          torch::zeros({n}, torch::kInt64), torch::ones({n}),
          torch::zeros({n}, torch::kInt64), {}};
}

}  // namespace

TEST_CASE("recommend: a newcomer is served from what they met, equal scores by item") {
  const auto model = fitted("item_knn");
  eval::RecommendRequest request;
  request.user = torch::zeros({1}, torch::kInt64);
  request.events = events({4});  // i1, which u0 alone met, beside i0 and i2 of both (rows 2 and 3)
  request.scene = 0;
  request.k = 3;
  const auto found = eval::recommend(*model, request);
  CHECK(found.item[0].equal(torch::tensor({2, 3, -1})));
  CHECK_THAT(found.score[0][0], IsNear(torch::tensor(std::sqrt(0.5))));
  CHECK_THAT(found.score[0][1], IsNear(torch::tensor(std::sqrt(0.5))));
  CHECK(found.known[0].item<bool>());
}

TEST_CASE("recommend: whom a model cannot serve it names the models for, or popularity serves") {
  eval::RecommendRequest request;
  request.user = torch::zeros({1}, torch::kInt64);
  request.events = events({4});
  request.scene = 0;
  CHECK_THROWS_WITH(
      eval::recommend(*fitted("neu_mf"), request),
      ContainsSubstring("neu_mf has nothing for people whom training did not know; those that serve them"));
  request.events = {};
  CHECK_FALSE(eval::recommend(*fitted("item_knn"), request).known[0].item<bool>());
}

TEST_CASE("recommend: ids to rows") {
  const auto schema = tiny_ranking_schema();
  CHECK(eval::rows_of(schema->categorical[1], {"i2", "nowhere", "i0"}).equal(torch::tensor({3, 0, 2})));
}

TEST_CASE("met_of: every pair once, by scene and item, without unknown items") {
  auto all = events({4, 0, 3, 4, 2});
  all.scene = torch::tensor({0, 0, 1, 0, 0});
  const auto met = eval::met_of(all);
  CHECK(met.item.equal(torch::tensor({2, 4, 3})));
  CHECK(met.scene.equal(torch::tensor({0, 0, 1})));
  CHECK(met.items(0, 0).equal(torch::tensor({2, 4})));
  CHECK(met.items(0, -1).equal(torch::tensor({2, 3, 4})));
  CHECK(met.positions(0, 1).equal(torch::tensor({2})));
}

TEST_CASE("similar_items and reasons: weights of item_knn, and models without") {
  const auto model = fitted("item_knn");
  const auto found = eval::similar_items(*model, 4, 0, 0, 5);
  CHECK(found.item.equal(torch::tensor({2, 3})));
  CHECK_THAT(found.score, IsNear(torch::full({2}, std::sqrt(0.5))));
  const auto reasons = eval::recommendation_reasons(*model, 3, {}, torch::tensor({4}), torch::tensor({0}));
  CHECK(reasons.item.equal(torch::tensor({2, 3, 3, 4})));  // u1: i0 and i2 in the phone, i2 and i1 in the tablet
  CHECK_THAT(reasons.part, IsNear(torch::tensor({{std::sqrt(0.5), std::sqrt(0.5), 0.0, 0.0}})));
  CHECK_THROWS_WITH(eval::similar_items(*model, 3, 0, 1, 5), ContainsSubstring("cannot compare items of 'phone'"));
  CHECK_THROWS_WITH(eval::similar_items(*fitted("popularity"), 3), ContainsSubstring("nothing to compare items by"));
  CHECK_THROWS_WITH(eval::similar_items(*fitted("bpr_mf"), 9), ContainsSubstring("no item has row 9"));
}
