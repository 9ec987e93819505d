#include "polyscene/models/sequence/din.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::DIN;
using models::DINOptions;

TEST_CASE("DIN: attention is over the events that count") {
  auto options = DINOptions();
  options.common.events("all");
  DIN model(tiny_schema(), options);
  scramble(*model);
  model->eval();
  const auto found = model->explain(tiny_followed());
  CHECK(found[1].first == "attention");
  CHECK(found[1].second.sizes() == torch::IntArrayRef({8, 3}));
  CHECK_THAT(found[1].second[2], IsNear(torch::zeros({3})));
  CHECK(found[2].first == "events");
  CHECK(found[2].second[1].item<int64_t>() == 1);
}

TEST_CASE("DIN: scores of candidates are those of rows with the events of their users") {
  DIN model(tiny_schema());
  scramble(*model);
  model->eval();
  check_scores(*model);
}

TEST_CASE("DIN: users and items must be named") {
  CHECK_THROWS_WITH(DIN(anonymous_schema()), StartsWith("DIN: the data must have a user and an item column"));
}

TEST_CASE("DIN: rows without events read the row alone") {
  DIN model(tiny_schema(), DINOptions());
  scramble(*model);
  model->eval();
  const auto followed = model->forward(tiny_followed()), alone = model->forward(tiny_batch());
  CHECK(followed[2].item<float>() == alone[2].item<float>());
  CHECK(followed[0].item<float>() != alone[0].item<float>());
}
