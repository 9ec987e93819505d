#include "polyscene/models/single/neu_mf.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::NeuMF;
using models::NeuMFOptions;
using models::RankingOptions;

namespace {

NeuMFOptions small_neu_mf() {
  NeuMFOptions options;
  options.common.dim(2);
  return options.hidden({2}).tower_dim(1);
}

}  // namespace

TEST_CASE("NeuMF: a weighted product beside a tower") {
  NeuMF model(tiny_schema("ranking"), small_neu_mf());
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.zero_();
    model->user->weight[2] = torch::tensor({1.f, 2.f});
    model->item->weight[2] = torch::tensor({3.f, 4.f});
    model->weight.copy_(torch::tensor({1.f, 10.f}));
    model->tower_user->weight[2] = 5;
    model->tower_item->weight[2] = 7;
    model->tower->weight[0].copy_(torch::tensor({1.f, 1.f, -1.f, -1.f}).view({1, 1, 2, 2}));
    model->tower->weight[1].fill_(2);
    model->tower->bias[1].fill_(0.5);
  }
  const auto out = model->score_items(torch::tensor({2}), 0, torch::tensor({2, 3}));
  CHECK(out[0][0].item<float>() == Approx(3 + 80 + 2 * 12 + 0.5));
  CHECK(out[0][1].item<float>() == Approx(2 * 5 + 0.5));
}

TEST_CASE("NeuMF: a tower without layers is refused") {
  CHECK_THROWS_WITH(NeuMF(tiny_schema("ranking"), small_neu_mf().hidden({})),
                    StartsWith("NeuMF: hidden must name at least one layer"));
}
