#include "polyscene/models/sequence/dasl.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::DASL;
using models::DASLOptions;

TEST_CASE("DASL: attention is over the events that count, of all scenes") {
  auto options = DASLOptions();
  options.common.events("all");
  DASL model(tiny_schema(), options);
  scramble(*model);
  model->eval();
  const auto found = model->explain(tiny_followed());
  CHECK(found[1].first == "attention");
  CHECK(found[1].second.sizes() == torch::IntArrayRef({8, 3}));
  CHECK_THAT(found[1].second[2], IsNear(torch::zeros({3})));
  CHECK_THAT(found[1].second[0].sum(), IsNear(torch::ones({})));
  CHECK(found[2].first == "events");
}

TEST_CASE("DASL: scores of candidates are those of rows with the events of their users") {
  DASL model(tiny_schema());
  scramble(*model);
  model->eval();
  check_scores(*model);
}

TEST_CASE("DASL: users and items must be named") {
  CHECK_THROWS_WITH(DASL(anonymous_schema()), StartsWith("DASL: the data must have a user and an item column"));
  CHECK_THROWS_WITH(DASL(tiny_schema(), DASLOptions().alignment(-1)), StartsWith("DASL: alignment must be 0 or more"));
}
