#include "polyscene/nn/gating.h"

#include <cmath>

#include "catch.h"

using namespace polyscene::nn;

TEST_CASE("Gating: two features by hand") {
  Gating module(2, 1);
  torch::NoGradGuard no_grad;
  module->gate->weight.copy_(torch::tensor({{1.F}, {3.F}}));
  const auto out = module->attend(torch::tensor({{10.F, 20.F}}), torch::tensor({{0.5F}}));
  const auto a = static_cast<float>(1 / (1 + std::exp(1.0)));  // softmax(0.5, 1.5)
  CHECK_THAT(out.weights, IsNear(torch::tensor({{a, 1 - a}})));
  CHECK_THAT(out.output, IsNear(torch::tensor({{10 * a, 20 * (1 - a)}}), 1e-5));
}

TEST_CASE("Gating: gates add up to 1 in any number of dimensions") {
  Gating module(3, 4, GatingOptions().bias(true));
  CHECK(module->parameters().size() == 2);
  const auto out = module->attend(torch::randn({2, 5, 3}), torch::randn({2, 5, 4}));
  CHECK_THAT(out.weights.sum(-1), IsNear(torch::ones({2, 5}), 1e-5));
  CHECK(module->forward(torch::randn({3}), torch::randn({4})).sizes() == torch::IntArrayRef({3}));
}

TEST_CASE("Gating: exact words for wrong sizes") {
  CHECK_THROWS_WITH(Gating(3, 0), StartsWith("Gating: context_size must be positive, got 0"));
  Gating module(3, 4);
  CHECK_THROWS_WITH(module->forward(torch::ones({2, 4}), torch::ones({2, 4})),
                    StartsWith("Gating: x must be [..., 3], got [2, 4]"));
  CHECK_THROWS_WITH(module->forward(torch::ones({2, 3}), torch::ones({3, 4})),
                    StartsWith("Gating: x and context must agree but for their last dimension, got [2, 3] and [3, 4]"));
}
