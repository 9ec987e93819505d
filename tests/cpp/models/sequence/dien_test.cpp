#include "polyscene/models/sequence/dien.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"
#include "click_model.h"

using namespace polyscene;
using models::DIEN;
using models::DIENOptions;

TEST_CASE("DIEN: attention, scores and roles are those of models that follow events") {
  check_click_model<DIEN, DIENOptions>("DIEN");
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
