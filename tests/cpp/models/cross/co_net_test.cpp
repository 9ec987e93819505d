#include "polyscene/models/cross/co_net.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::CoNet;
using models::CoNetOptions;

namespace {

CoNetOptions small_co_net() {
  CoNetOptions options;
  options.common.dim(1);
  return options.hidden({1}).cross_penalty(0);
}

}  // namespace

TEST_CASE("CoNet: towers of other scenes join where the user has rows") {
  const auto schema = tiny_schema("ranking");
  CoNet model(schema, small_co_net());
  model->eval();
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.zero_();
    model->user->weight.fill_(1);
    model->item->weight.fill_(2);
    model->tower->weight[0].fill_(1);
    model->tower->weight[1].fill_(1);
    model->cross[0].fill_(10);
  }
  const auto users = torch::tensor({2, 3}), items = torch::tensor({2});
  // Before prepare nobody is anywhere: the item alone.
  CHECK_THAT(model->score_items(users, 0, items), IsNear(torch::tensor({{2.f}, {2.f}})));
  model->prepare(tiny_table(schema));
  // Both users have rows in both scenes: 1 + 2 of the own tower, 10 (1 + 2) of the other's input.
  CHECK_THAT(model->score_items(users, 0, items), IsNear(torch::tensor({{33.f}, {33.f}})));
}

TEST_CASE("CoNet: options out of range are refused") {
  CHECK_THROWS_WITH(CoNet(tiny_schema("ranking"), small_co_net().cross_norm("l3")),
                    StartsWith("CoNet: cross_norm must be 'frobenius' or 'l1'"));
}
