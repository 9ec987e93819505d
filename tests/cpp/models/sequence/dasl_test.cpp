#include "polyscene/models/sequence/dasl.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"
#include "click_model.h"

using namespace polyscene;
using models::DASL;
using models::DASLOptions;

TEST_CASE("DASL: attention, scores and roles are those of models that follow events") {
  check_click_model<DASL, DASLOptions>("DASL");
}

TEST_CASE("DASL: the events of all scenes share one softmax") {
  auto options = DASLOptions();
  options.common.events("all");
  DASL model(tiny_schema(), options);
  scramble(*model);
  model->eval();
  CHECK_THAT(model->explain(tiny_followed())[1].second[0].sum(), IsNear(torch::ones({})));
}

TEST_CASE("DASL: options out of range") {
  CHECK_THROWS_WITH(DASL(tiny_schema(), DASLOptions().alignment(-1)), StartsWith("DASL: alignment must be 0 or more"));
}
