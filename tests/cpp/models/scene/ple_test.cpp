#include "polyscene/models/scene/ple.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::PLE;
using models::PLEOptions;

TEST_CASE("PLE: gates of a row are over its scene's experts and the shared ones") {
  for (const int64_t levels : {1, 2, 3}) {
    PLE model(tiny_schema(), PLEOptions().levels(levels).specific(2).shared(3));
    scramble(*model);
    const auto found = model->explain(tiny_batch());
    CHECK(found[1].first == "gates");
    CHECK(found[1].second.sizes() == torch::IntArrayRef({8, 5}));
    CHECK_THAT(found[1].second.sum(1), IsNear(torch::ones({8}), 1e-6));
  }
}

TEST_CASE("PLE: one level without gate weights is the mean of the experts") {
  PLE model(tiny_schema(), PLEOptions().specific(1).shared(1).expert({1}).tower({}).norm("none"));
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.zero_();
  model->specific[0]->bias[0].copy_(torch::tensor({2.f, 4.f}).view({2, 1, 1}));
  model->shared[0]->bias[0].fill_(6);
  model->towers->weight[0].fill_(1);
  model->towers->bias[0].copy_(torch::tensor({0.f, 0.5f}).view({2, 1, 1}));
  // (2 + 6) / 2 in scene 0, (4 + 6) / 2 + 0.5 in scene 1
  CHECK_THAT(model->forward(tiny_batch()), IsNear(torch::tensor({4.f, 4.f, 4.f, 4.f, 4.f, 5.5f, 5.5f, 5.5f})));
}

TEST_CASE("PLE: another scene's experts do not touch a row of the last level") {
  PLE model(tiny_schema());
  scramble(*model);
  model->eval();
  const auto before = model->forward(tiny_batch());
  const torch::NoGradGuard no_grad;
  model->specific[0]->weight[0][1].add_(1);
  const auto after = model->forward(tiny_batch());
  CHECK_THAT(after.slice(0, 0, 5), IsNear(before.slice(0, 0, 5), 0));
  CHECK((after - before).slice(0, 5).abs().min().item<double>() > 1e-5);
}

TEST_CASE("PLE: no levels are refused") {
  CHECK_THROWS_WITH(PLE(tiny_schema(), PLEOptions().levels(0)), StartsWith("PLE: levels must be positive, got 0"));
}
