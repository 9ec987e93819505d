#include "polyscene/models/cross/dcdcsr.h"

#include "catch.h"
#include "tiny_ranking.h"

using namespace polyscene;
using models::DCDCSR;
using models::DCDCSROptions;

TEST_CASE("DCDCSR: a benchmark weighs a user's vectors by the pairs behind them") {
  const auto schema = tiny_ranking_schema();
  auto options = DCDCSROptions();
  options.common.dim(2);
  DCDCSR model(schema, options);
  torch::NoGradGuard no_grad;
  const auto users = model->user_rows.size(1);
  model->user_rows[0][2] = 3;
  model->user_rows[1][2] = 1;
  model->user->weight[2].copy_(torch::tensor({4.f, 0.f}));
  model->user->weight[users + 2].copy_(torch::tensor({0.f, 8.f}));
  CHECK_THAT(model->benchmark(0, torch::tensor({2})), IsNear(torch::tensor({{3.f, 2.f}})));
  CHECK_THAT(model->benchmark(1, torch::tensor({2})), IsNear(torch::tensor({{3.f, 2.f}})));
  auto swapped = DCDCSROptions().weigh_by("other");
  swapped.common.dim(2);
  DCDCSR other(schema, swapped);
  other->user_rows.copy_(model->user_rows);
  other->user->weight.copy_(model->user->weight);
  CHECK_THAT(other->benchmark(0, torch::tensor({2})), IsNear(torch::tensor({{1.f, 6.f}})));
}

TEST_CASE("DCDCSR: a user of one scene takes the benchmark of the one most alike") {
  auto options = DCDCSROptions().neighbours(1);
  options.common.dim(2);
  DCDCSR model(tiny_ranking_schema(), options);
  torch::NoGradGuard no_grad;
  const auto users = model->user_rows.size(1);
  model->user_rows[0].slice(0, 2).fill_(1);
  model->user_rows[1][2] = 3;
  model->user->weight[2].copy_(torch::tensor({1.f, 0.f}));
  model->user->weight[3].copy_(torch::tensor({2.f, 1.f}));
  model->user->weight[users + 2].copy_(torch::tensor({0.f, 4.f}));
  CHECK_THAT(model->benchmark(0, torch::tensor({3})), IsNear(torch::tensor({{0.5f, 3.25f}})));
}

TEST_CASE("DCDCSR: items train on with users and mapping held") {
  const auto schema = tiny_ranking_schema();
  DCDCSR model(schema);
  model->prepare(tiny_table(schema));
  const auto phases = model->phases();
  REQUIRE(phases.size() == 5);
  CHECK(phases[2].users.equal(torch::tensor({2, 3})));
  CHECK(phases[4].frozen == std::vector<std::string>{"user", "map"});
  model->begin_phase(phases[4]);
  CHECK(model->stage.item<int64_t>() == 2);
}
