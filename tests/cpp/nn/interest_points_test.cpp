#include "polyscene/nn/interest_points.h"

#include "catch.h"
#include "polyscene/nn/masks.h"

using namespace polyscene::nn;

TEST_CASE("InterestPoints: one filter by hand, with the step of its strongest answer") {
  InterestPoints module(1, InterestPointsOptions().points(1).kernel(3));
  torch::NoGradGuard no_grad;
  module->convolution->weight.copy_(torch::tensor({1.F, 2.F, -1.F}).view({1, 1, 3}));
  module->convolution->bias.fill_(0.5);
  const auto c = torch::tensor({1.F, 2.F, 3.F, 0.F}).view({1, 4, 1});
  // answers: 2 - 2, 1 + 4 - 3, 2 + 6 - 0, 3 + 0, each + .5
  const auto all = module->extract(c);
  CHECK(all.values.item<float>() == Approx(8.5));
  CHECK(all.steps.item<int64_t>() == 2);
  // Of the first two events alone: 2 - 2 and 1 + 4 (the third counts as 0)
  const auto two = module->extract(c, padding_mask(torch::tensor({2}), 4));
  CHECK(two.values.item<float>() == Approx(5.5));
  CHECK(two.steps.item<int64_t>() == 1);
}

TEST_CASE("InterestPoints: padding is not read, a row without events has points 0") {
  InterestPoints module(3, InterestPointsOptions().points(8));
  module->to(torch::kFloat64);
  const auto valid = padding_mask(torch::tensor({4, 2, 0}), 4);
  const auto c = torch::randn({3, 4, 3}, torch::kFloat64);
  const auto bad = c.masked_fill(~valid.unsqueeze(-1), NAN).requires_grad_();
  const auto points = module->forward(bad, valid);
  CHECK(points.sizes() == torch::IntArrayRef({3, 8}));
  CHECK(points.equal(module->forward(c, valid)));
  CHECK_THAT(points[1], IsNear(module->forward(c.slice(0, 1, 2).slice(1, 0, 2))[0], 1e-12));
  CHECK(points[2].abs().max().item<double>() == 0);
  points.sum().backward();
  CHECK(torch::isfinite(bad.grad()).all().item<bool>());
  CHECK(torch::isfinite(module->convolution->weight.grad()).all().item<bool>());
}

TEST_CASE("InterestPoints: no steps, wrong sizes") {
  InterestPoints module(3);
  CHECK(module->forward(torch::ones({2, 0, 3})).equal(torch::zeros({2, 32})));
  CHECK(module->output_size() == 32);
  CHECK_THROWS_WITH(InterestPoints(3, InterestPointsOptions().kernel(4)),
                    StartsWith("InterestPoints: kernel must be odd and positive, got 4"));
  CHECK_THROWS_WITH(module->forward(torch::ones({2, 4, 2})),
                    StartsWith("InterestPoints: context must be [B, T, 3], got [2, 4, 2]"));
}
