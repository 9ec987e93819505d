#include "polyscene/models/cross/emcdr.h"

#include "catch.h"
#include "tiny_ranking.h"

using namespace polyscene;
using models::EMCDR;
using models::EMCDROptions;

TEST_CASE("EMCDR: the mapping trains on users of two scenes, with the tables held") {
  const auto schema = tiny_ranking_schema();
  EMCDR model(schema, EMCDROptions().map_epochs(7).map_batch(3));
  model->prepare(tiny_table(schema));
  const auto phases = model->phases();
  REQUIRE(phases.size() == 3);
  CHECK(phases[0].scenes == std::vector<std::string>{"phone"});
  CHECK(phases[1].scenes == std::vector<std::string>{"tablet"});
  CHECK(phases[2].frozen == std::vector<std::string>{"user", "item"});
  CHECK(phases[2].users.equal(torch::tensor({2, 3})));
  CHECK(phases[2].epochs == 7);
  CHECK(phases[2].batch_size == 3);
  model->begin_phase(phases[2]);
  CHECK(model->stage.item<int64_t>() == 1);
  model->begin_phase(phases[0]);
  CHECK(model->stage.item<int64_t>() == 0);
}

TEST_CASE("EMCDR: the loss of the mapping is the mean squared distance in both directions") {
  const auto schema = tiny_ranking_schema();
  auto options = EMCDROptions().mapping("linear");
  options.common.dim(3);
  EMCDR model(schema, options);
  model->prepare(tiny_table(schema));
  model->stage.fill_(1);
  auto batch = tiny_batch(schema).take(torch::tensor({0}));
  const auto u = batch.user.item<int64_t>(), users = model->user_rows.size(1);
  const auto phone = model->user->weight[u], tablet = model->user->weight[users + u];
  const auto there = torch::matmul(phone, model->map->first[0]) - tablet;
  const auto back = torch::matmul(tablet, model->map->first[1]) - phone;
  CHECK_THAT(model->loss(batch), IsNear((there.square().mean() + back.square().mean()) / 2));
}
