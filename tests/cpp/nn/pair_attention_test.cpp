#include "polyscene/nn/pair_attention.h"

#include <cmath>

#include "catch.h"
#include "polyscene/nn/masks.h"

using namespace polyscene::nn;

namespace {

PairAttention make_pairs() {
  PairAttention module(2);
  module->to(torch::kFloat64);
  return module;
}

}  // namespace

TEST_CASE("PairAttention: three states by hand") {
  PairAttention module(1, PairAttentionOptions().hidden(1));
  torch::NoGradGuard no_grad;
  module->projection->weight.copy_(torch::tensor({{1.F, -1.F}}));
  module->head.fill_(2);
  const auto h = torch::tensor({1.F, 3.F, 4.F}).view({1, 3, 1});
  // pairs [1, 3] and [3, 4], scores 2 (1 - 3) = -4 and 2 (3 - 4) = -2
  const auto out = module->attend(h);
  const auto a = static_cast<float>(1 / (1 + std::exp(2.0)));
  CHECK_THAT(out.weights[0], IsNear(torch::tensor({{0.F, 0.F}, {1.F, 0.F}, {a, 1 - a}}), 1e-6));
  CHECK_THAT(out.output[0], IsNear(torch::tensor({{0.F, 0.F}, {1.F, 3.F}, {3 - 2 * a, 4 - a}}), 1e-6));
  CHECK(module->output_size() == 2);
}

TEST_CASE("PairAttention: the context of step t depends on states up to t only") {
  auto module = make_pairs();
  const auto h = random_doubles({2, 5, 2});
  const auto context = module->forward(h);
  for (int64_t step = 1; step < 5; ++step) {
    auto changed = h.clone();
    changed.select(1, step).add_(1);
    const auto moved = (module->forward(changed) - context).abs().amax({0, 2});
    CHECK(moved.slice(0, 0, step).max().item<double>() == 0);
    CHECK(moved[step].item<double>() > 1e-6);
  }
}

TEST_CASE("PairAttention: padding is not read, steps without a pair are 0") {
  auto module = make_pairs();
  const auto valid = padding_mask(torch::tensor({4, 2, 1, 0}), 4);
  const auto h = random_doubles({4, 4, 2});
  const auto bad = h.masked_fill(~valid.unsqueeze(-1), NAN).requires_grad_();
  const auto out = module->attend(bad, valid);
  CHECK(out.output.equal(module->forward(h, valid)));
  CHECK_THAT(out.output[0], IsNear(module->forward(h)[0], 1e-12));
  CHECK_THAT(out.output[1][1], IsNear(h[1].slice(0, 0, 2).flatten(), 1e-12));
  CHECK(out.output[1].slice(0, 2).abs().max().item<double>() == 0);
  CHECK(out.output.slice(0, 2).abs().max().item<double>() == 0);
  CHECK(out.weights.slice(0, 2).abs().max().item<double>() == 0);
  out.output.sum().backward();
  CHECK(torch::isfinite(bad.grad()).all().item<bool>());
  CHECK(torch::isfinite(module->head.grad()).all().item<bool>());
}

TEST_CASE("PairAttention: fewer than two steps, wrong sizes") {
  CHECK(make_pairs()->forward(random_doubles({2, 1, 2})).equal(torch::zeros({2, 1, 4}, torch::kFloat64)));
  CHECK(make_pairs()->attend(random_doubles({2, 0, 2})).output.sizes() == torch::IntArrayRef({2, 0, 4}));
  CHECK_THROWS_WITH(PairAttention(2, PairAttentionOptions().hidden(-1)),
                    StartsWith("PairAttention: hidden must not be negative, got -1"));
  CHECK_THROWS_WITH(make_pairs()->forward(random_doubles({2, 3, 3})),
                    StartsWith("PairAttention: states must be [B, T, 2], got [2, 3, 3]"));
}
