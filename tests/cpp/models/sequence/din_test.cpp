#include "polyscene/models/sequence/din.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"
#include "click_model.h"

using namespace polyscene;
using models::DIN;
using models::DINOptions;

TEST_CASE("DIN: attention, scores and roles are those of models that follow events") {
  check_click_model<DIN, DINOptions>("DIN");
}

TEST_CASE("DIN: rows without events read the row alone") {
  DIN model(tiny_schema(), DINOptions());
  scramble(*model);
  model->eval();
  const auto followed = model->forward(tiny_followed()), alone = model->forward(tiny_batch());
  CHECK(followed[2].item<float>() == alone[2].item<float>());
  CHECK(followed[0].item<float>() != alone[0].item<float>());
}
