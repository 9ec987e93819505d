#include "polyscene/nn/fusion.h"

#include "catch.h"

using namespace polyscene::nn;

TEST_CASE("Fusion: gates of zero weigh what is present equally, by hand") {
  Fusion fusion(std::vector<int64_t>{1, 1}, FusionOptions().kind("gated").hidden(1));
  torch::NoGradGuard no_grad;
  for (auto& parameter : fusion->parameters()) parameter.fill_(1);
  fusion->gate->weight.zero_();
  const auto x = std::vector<torch::Tensor>{torch::tensor({{1.F}, {1.F}}), torch::tensor({{3.F}, {3.F}})};
  const auto out = fusion->attend(x, torch::tensor({{1, 1}, {0, 1}}, torch::kBool));
  const auto one = std::tanh(1.F), three = std::tanh(3.F);
  CHECK_THAT(out.output.flatten(), IsNear(torch::tensor({(one + three) / 2, three})));
  CHECK_THAT(out.weights, IsNear(torch::tensor({{0.5F, 0.5F}, {0.F, 1.F}})));
}

TEST_CASE("Fusion: the stand-in of a missing vector is 0 at first") {
  Fusion fusion(std::vector<int64_t>{1, 1}, FusionOptions().kind("concat").hidden(1));
  torch::NoGradGuard no_grad;
  fusion->projection->weight.copy_(torch::tensor({{2.F, 5.F}}));
  fusion->projection->bias.fill_(1);
  const auto x = std::vector<torch::Tensor>{torch::tensor({{3.F}}), torch::tensor({{4.F}})};
  CHECK_THAT(fusion->forward(x, torch::tensor({{1, 0}}, torch::kBool)), IsNear(torch::tensor({{7.F}})));
  fusion->absent.fill_(10);
  CHECK_THAT(fusion->forward(x, torch::tensor({{1, 0}}, torch::kBool)), IsNear(torch::tensor({{57.F}})));
}

TEST_CASE("Fusion: weights add up to 1 over what a row has, and a row without anything is 0") {
  for (const auto* kind : {"concat", "gated", "cross_attention"}) {
    torch::manual_seed(1);
    Fusion fusion(std::vector<int64_t>{2, 3, 4}, FusionOptions().kind(kind).hidden(4));
    const auto x = std::vector<torch::Tensor>{torch::randn({3, 2}), torch::randn({3, 3}), torch::randn({3, 4})};
    const auto out = fusion->attend(x, torch::tensor({{1, 1, 1}, {0, 1, 0}, {0, 0, 0}}, torch::kBool));
    CHECK_THAT(out.weights.sum(1), IsNear(torch::tensor({1.F, 1.F, 0.F})));
    CHECK_THAT(out.output[2], IsNear(torch::zeros({4})));
  }
}

TEST_CASE("Fusion: a clone computes the same with tensors of its own") {
  Fusion fusion(std::vector<int64_t>{2, 3}, FusionOptions().kind("cross_attention").hidden(4));
  const auto x = std::vector<torch::Tensor>{torch::randn({3, 2}), torch::randn({3, 3})};
  const auto copy = std::dynamic_pointer_cast<FusionImpl>(fusion->clone());
  CHECK_THAT(copy->forward(x), IsNear(fusion->forward(x), 0));
  torch::NoGradGuard no_grad;
  copy->norm->bias.fill_(1);
  CHECK_FALSE(torch::allclose(copy->forward(x), fusion->forward(x)));
}

TEST_CASE("Fusion: exact words for wrong options") {
  CHECK_THROWS_WITH(Fusion(std::vector<int64_t>{2}, FusionOptions().kind("sum")),
                    StartsWith("Fusion: kind must be one of concat, gated, cross_attention, got 'sum'"));
  CHECK_THROWS_WITH(Fusion(std::vector<int64_t>{2}, FusionOptions())->forward({torch::ones({3, 3})}),
                    StartsWith("Fusion: modality 0 must be [3, 2], got [3, 3]"));
}
