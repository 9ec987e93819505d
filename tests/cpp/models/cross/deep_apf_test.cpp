#include "polyscene/models/cross/deep_apf.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::DeepAPF;
using models::DeepAPFOptions;

TEST_CASE("DeepAPF: what is common joins what is the scene's own") {
  const auto schema = tiny_schema("ranking");
  DeepAPFOptions options;
  options.common.dim(1);
  DeepAPF model(schema, options);
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.zero_();
    model->common_factors->weight.fill_(3);
    model->user->weight.fill_(1);
    model->item->weight.fill_(2);
    model->weight.fill_(10);
  }
  const auto users = torch::tensor({2, 3}), items = torch::tensor({2});
  CHECK_THAT(model->score_items(users, 0, items), IsNear(torch::zeros({2, 1})));
  model->prepare(tiny_table(schema));
  // Without attention both halves weigh the same: 10 (3 + 1) / 2 * 2.
  CHECK_THAT(model->score_items(users, 0, items), IsNear(torch::full({2, 1}, 40.f)));
}

TEST_CASE("DeepAPF: options out of range are refused") {
  CHECK_THROWS_WITH(DeepAPF(tiny_schema("ranking"), DeepAPFOptions().shared("both")),
                    StartsWith("DeepAPF: shared must be 'users' or 'items'"));
}
