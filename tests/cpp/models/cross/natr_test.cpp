#include "polyscene/models/cross/natr.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::NATR;
using models::NATROptions;

TEST_CASE("NATR: the phase decides which tables score, and what is frozen") {
  const auto schema = tiny_schema("ranking");
  NATROptions options;
  options.common.dim(1);
  NATR model(schema, options);
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.zero_();
    model->source_user->weight.fill_(3);
    model->source_item->weight.fill_(5);
    model->user->weight.fill_(1);
    model->item->weight.fill_(2);
  }
  const auto phases = model->phases();
  REQUIRE(phases.size() == 2);
  CHECK(phases[1].frozen == std::vector<std::string>{"source_user", "source_item"});
  const auto users = torch::tensor({2}), items = torch::tensor({2});
  model->begin_phase(phases[0]);
  CHECK_THAT(model->score_items(users, 0, items), IsNear(torch::tensor({{15.f}})));
  model->begin_phase(phases[1]);
  CHECK_THAT(model->score_items(users, 0, items), IsNear(torch::tensor({{2.f}})));
}

TEST_CASE("NATR: an item does not tell of itself") {
  const auto schema = tiny_schema("ranking");
  NATROptions options;
  options.common.dim(1);
  NATR model(schema, options);
  model->prepare(tiny_table(schema));
  model->eval();
  auto batch = tiny_batch(schema).take(torch::arange(5));
  const auto ranked = model->score_items(torch::arange(2, 4), 0, torch::arange(2, 5));  // [2, 3]
  const auto alone = model->forward(batch);
  for (int64_t b = 0; b < 5; ++b) {
    CHECK(alone[b].item<float>() ==
          Approx(ranked[batch.user[b].item<int64_t>() - 2][batch.item[b].item<int64_t>() - 2].item<float>()));
  }
}

TEST_CASE("NATR: options out of range are refused") {
  CHECK_THROWS_WITH(NATR(tiny_schema("ranking"), NATROptions().length(0)), StartsWith("NATR: length must be positive"));
}
