#include "polyscene/models/cross/dtcdr.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::DTCDR;
using models::DTCDROptions;

TEST_CASE("DTCDR: the greater of two scenes' factors where the id has rows in both") {
  const auto schema = tiny_schema("ranking");
  DTCDROptions options;
  options.common.dim(1);
  DTCDR model(schema, options.hidden({1}).dropout(0));
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.zero_();
    model->user->weight.copy_(torch::tensor({0.f, 0.f, 1.f, 2.f, 0.f, 0.f, 5.f, 6.f}).unsqueeze(1));
    model->item->weight.fill_(0);
    model->tower->weight[0].fill_(1);
    model->tower->weight[1].fill_(1);
  }
  const auto users = torch::tensor({2, 3}), items = torch::tensor({2});
  CHECK_THAT(model->score_items(users, 0, items), IsNear(torch::zeros({2, 1})));
  model->prepare(tiny_table(schema));
  CHECK_THAT(model->score_items(users, 0, items), IsNear(torch::tensor({{5.f}, {6.f}})));
}

TEST_CASE("DTCDR: towers without layers are refused") {
  CHECK_THROWS_WITH(DTCDR(tiny_schema("ranking"), DTCDROptions().hidden({})),
                    StartsWith("DTCDR: hidden must name at least one layer"));
}
