#include "polyscene/models/cross/ptupcdr.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::PTUPCDR;
using models::PTUPCDROptions;

TEST_CASE("PTUPCDR: a bridge carries a user's factors of the other scene") {
  const auto schema = tiny_schema("ranking");
  PTUPCDROptions options;
  options.common.dim(1);
  PTUPCDR model(schema, options.bridged("all").meta_hidden(1));
  model->prepare(tiny_table(schema));
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.zero_();
    model->user->weight.narrow(0, 0, 4).fill_(1);  // of the first scene
    model->user->weight.narrow(0, 4, 4).fill_(5);  // of the second
    model->item->weight.fill_(2);
    model->meta->bias[1].fill_(10);  // every bridge is times 10
  }
  const auto phases = model->phases();
  REQUIRE(phases.size() == 2);
  const auto users = torch::tensor({2, 3}), items = torch::tensor({2});
  model->begin_phase(phases[0]);
  CHECK_THAT(model->score_items(users, 0, items), IsNear(torch::full({2, 1}, 2.f)));
  model->begin_phase(phases[1]);
  CHECK_THAT(model->score_items(users, 0, items), IsNear(torch::full({2, 1}, 5 * 10 * 2.f)));
}

TEST_CASE("PTUPCDR: options out of range are refused") {
  CHECK_THROWS_WITH(PTUPCDR(tiny_schema("ranking"), PTUPCDROptions().bridged("some")),
                    StartsWith("PTUPCDR: bridged must be 'cold' or 'all'"));
}
