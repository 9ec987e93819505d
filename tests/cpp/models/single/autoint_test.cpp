#include "polyscene/models/single/autoint.h"

#include "fields.h"

using namespace polyscene;
using models::AutoInt;
using models::AutoIntOptions;

TEST_CASE("AutoInt: any rows, all gradients") {
  const std::vector<int64_t> hidden = GENERATE(std::vector<int64_t>{}, std::vector<int64_t>{8});
  check_field_model(AutoInt(tiny_schema(), AutoIntOptions().layers(2).width(8).hidden(hidden)));
}

TEST_CASE("AutoInt: equal keys are looked at equally") {
  AutoInt model(tiny_schema(), AutoIntOptions().layers(1).heads(2).width(4));
  {
    const torch::NoGradGuard no_grad;
    model->projection[0].narrow(0, 4, 4).zero_();  // keys
  }
  const auto parts = model->explain(tiny_batch());
  CHECK(parts[1].first == "attention0");
  CHECK_THAT(parts[1].second.detach(), IsNear(torch::full({8, 2, 4, 4}, 0.25F), 1e-6));
}

TEST_CASE("AutoInt: exact words for wrong options") {
  CHECK_THROWS_WITH(AutoInt(tiny_schema(), AutoIntOptions().heads(3)),
                    StartsWith("AutoInt: heads must divide width, got 3 heads and width 32"));
}
