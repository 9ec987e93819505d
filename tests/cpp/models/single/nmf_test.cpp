#include "polyscene/models/single/nmf.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::NMF;
using models::NMFOptions;

TEST_CASE("NMF: one pass of one factor by hand") {
  const auto schema = tiny_schema("rating");
  NMF model(schema, NMFOptions().dim(1).l2(0).passes(1));
  model->user.fill_(1);
  model->item.fill_(1);
  const auto table = tiny_table(schema);
  CHECK(model->fit_closed_form(table));
  // With factors of 1 a user becomes the mean of the user's ratings, and then an item sum p r / sum p p q.
  const auto users = table.users(), items = table.items();
  const auto labels = table.labels().to(torch::kFloat64);
  const auto mine = users.eq(2);
  const auto wanted = labels.index({mine}).mean();
  CHECK_THAT(model->user[2][0].to(torch::kFloat64), IsNear(wanted, 1e-6));
  const auto p = model->user.squeeze(1).to(torch::kFloat64).index({users});
  const auto there = items.eq(2);
  CHECK_THAT(model->item[2][0].to(torch::kFloat64),
             IsNear((p * labels).index({there}).sum() / (p * p).index({there}).sum(), 1e-6));
}

TEST_CASE("NMF: what is refused") {
  CHECK_THROWS_WITH(NMF(tiny_schema()), StartsWith("NMF: the task must be 'rating', got 'ctr'"));
  CHECK_THROWS_WITH(NMF(tiny_schema("rating"), NMFOptions().dim(0)), StartsWith("NMF: dim must be positive, got 0"));
  CHECK_THROWS_WITH(NMF(tiny_schema("rating"), NMFOptions().l2(-1)), StartsWith("NMF: l2 must be 0 or more, got -1"));
  CHECK_THROWS_WITH(NMF(tiny_schema("rating"), NMFOptions().passes(0)), StartsWith("NMF: passes must be positive"));
}

TEST_CASE("NMF: nothing is left to optimise") {
  NMF model(tiny_schema("rating"));
  CHECK(model->parameters().empty());
  CHECK(model->buffers().size() == 2);
}
