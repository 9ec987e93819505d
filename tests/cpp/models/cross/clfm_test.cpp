#include "polyscene/models/cross/clfm.h"

#include "catch.h"
#include "tiny_ranking.h"

using namespace polyscene;
using models::CLFM;
using models::CLFMOptions;

TEST_CASE("CLFM: a user's vector is read through the shared and the scene's codebook") {
  auto options = CLFMOptions().shared_dim(1);
  options.common.dim(2);
  CLFM model(tiny_ranking_schema(), options);
  torch::NoGradGuard no_grad;
  const auto users = model->user->weight.size(0) / 2, items = model->item->weight.size(0) / 2;
  model->user->weight[users + 2].copy_(torch::tensor({1.f, 2.f}));
  model->item->weight[items + 3].copy_(torch::tensor({10.f, 100.f}));
  model->shared_code.copy_(torch::tensor({{1.f}, {3.f}}));      // 7
  model->scene_code[1].copy_(torch::tensor({{2.f}, {-0.5f}}));  // 1
  const auto scores = model->score_items(torch::tensor({2}), 1, torch::tensor({3}));
  CHECK_THAT(scores, IsNear(torch::tensor({{170.f}})));
}

TEST_CASE("CLFM: a codebook of width 0 is left out") {
  auto all = CLFMOptions().shared_dim(4), none = CLFMOptions().shared_dim(0);
  all.common.dim(4);
  none.common.dim(4);
  CHECK_FALSE(CLFM(tiny_ranking_schema(), all)->scene_code.defined());
  CHECK_FALSE(CLFM(tiny_ranking_schema(), none)->shared_code.defined());
}
