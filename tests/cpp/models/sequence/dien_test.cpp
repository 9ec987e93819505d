#include "polyscene/models/sequence/dien.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::DIEN;
using models::DIENOptions;

TEST_CASE("DIEN: attention is over the events that count") {
  auto options = DIENOptions();
  options.common.events("all");
  DIEN model(tiny_schema(), options);
  scramble(*model);
  model->eval();
  const auto found = model->explain(tiny_followed());
  CHECK(found[1].first == "attention");
  CHECK(found[1].second.sizes() == torch::IntArrayRef({8, 3}));
  CHECK_THAT(found[1].second[2], IsNear(torch::zeros({3})));
  CHECK(found[2].first == "events");
  CHECK(found[2].second[1].item<int64_t>() == 1);
}

TEST_CASE("DIEN: scores of candidates are those of rows with the events of their users") {
  DIEN model(tiny_schema());
  scramble(*model);
  model->eval();
  check_scores(*model);
}

TEST_CASE("DIEN: users and items must be named") {
  CHECK_THROWS_WITH(DIEN(anonymous_schema()), StartsWith("DIEN: the data must have a user and an item column"));
}

TEST_CASE("DIEN: the auxiliary loss is of training") {
  DIEN model(tiny_schema(), DIENOptions().auxiliary(2));
  scramble(*model);
  const auto batch = tiny_followed();
  model->eval();
  const auto plain = model->loss(batch).item<float>();
  CHECK(plain == model->task_loss(model->forward(batch), batch).item<float>());
  CHECK_THROWS_WITH(DIEN(tiny_schema(), DIENOptions().auxiliary(-1)), StartsWith("DIEN: auxiliary must be 0 or more"));
}
