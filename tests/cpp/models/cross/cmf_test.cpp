#include "polyscene/models/cross/cmf.h"

#include "catch.h"
#include "tiny_ranking.h"

using namespace polyscene;
using models::CMF;
using models::CMFOptions;

TEST_CASE("CMF: scenes read one table of users and one of items") {
  const auto schema = tiny_ranking_schema();
  CMF model(schema, CMFOptions());
  const auto users = torch::arange(4), items = torch::arange(5);
  const auto phone = model->score_items(users, 0, items), tablet = model->score_items(users, 1, items);
  CHECK(phone.equal(tablet));
  CHECK_THAT(phone, IsNear(torch::mm(model->user->weight, model->item->weight.t())));
}

TEST_CASE("CMF: a scene's weight is that of its mean loss") {
  const auto schema = tiny_ranking_schema();
  const auto batch = tiny_ranking_batch(schema);
  const auto loss = [&](std::vector<double> weights, const data::Batch& rows) {
    torch::manual_seed(3);
    return CMF(schema, CMFOptions().scene_weights(std::move(weights)))->loss(rows).item<double>();
  };
  const auto phone = loss({}, batch.take(torch::arange(0, 5))), tablet = loss({}, batch.take(torch::arange(5, 8)));
  CHECK(loss({3, 1}, batch) == Approx((3 * phone + tablet) / 4).epsilon(1e-5));
  CHECK(loss({}, batch) == Approx((5 * phone + 3 * tablet) / 8).epsilon(1e-5));
}

TEST_CASE("CMF: weights must fit the scenes") {
  CHECK_THROWS_WITH(CMF(tiny_ranking_schema(), CMFOptions().scene_weights({1})),
                    StartsWith("CMF: scene_weights must have one entry for each of 2 scenes, got 1"));
}
