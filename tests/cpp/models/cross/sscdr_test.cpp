#include "polyscene/models/cross/sscdr.h"

#include "catch.h"
#include "tiny_ranking.h"

using namespace polyscene;
using models::SSCDR;
using models::SSCDROptions;

TEST_CASE("SSCDR: a score is the squared distance inside the unit ball, negated") {
  const auto schema = tiny_ranking_schema();
  auto options = SSCDROptions();
  options.common.dim(2);
  SSCDR model(schema, options);
  torch::NoGradGuard no_grad;
  model->user->weight.zero_();
  model->item->weight.zero_();
  model->user->weight[2].copy_(torch::tensor({3.f, 4.f}));   // (0.6, 0.8) inside the ball
  model->item->weight[3].copy_(torch::tensor({0.6f, 0.f}));  // within it already
  const auto scores = model->score_items(torch::tensor({2}), 0, torch::tensor({2, 3}));
  CHECK_THAT(scores, IsNear(torch::tensor({{-1.f, -0.64f}})));
}

TEST_CASE("SSCDR: margins compare what a row met with what was drawn") {
  const auto schema = tiny_ranking_schema();
  auto options = SSCDROptions().margin(0.5);
  options.common.dim(2);
  SSCDR model(schema, options);
  {
    torch::NoGradGuard no_grad;
    model->user->weight.zero_();
    model->item->weight.zero_();
    model->item->weight.slice(0, 2).fill_(0.5);
  }
  CHECK(model->loss(tiny_ranking_batch(schema)).item<double>() == Approx(0.5));
}

TEST_CASE("SSCDR: its loss is no option") {
  for (const auto& [name, value] : SSCDR(tiny_ranking_schema())->options_map()) CHECK(name != "loss");
}
