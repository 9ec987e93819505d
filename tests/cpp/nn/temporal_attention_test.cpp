#include "polyscene/nn/temporal_attention.h"

#include <cmath>

#include "catch.h"
#include "polyscene/nn/masks.h"

using namespace polyscene::nn;

namespace {

TemporalAttention make_temporal(bool causal) {
  TemporalAttention module(2, 3, TemporalAttentionOptions().causal(causal));
  module->to(torch::kFloat64);
  return module;
}

}  // namespace

TEST_CASE("TemporalAttention: two events by hand") {
  TemporalAttention module(1, 1, TemporalAttentionOptions().causal(false));
  torch::NoGradGuard no_grad;
  module->weight.copy_(torch::tensor({2.F, 1.F}));  // of the state before, of the event
  const auto x = torch::tensor({3.F, 1.F}).view({1, 2, 1});
  const auto h = torch::tensor({2.F, 100.F}).view({1, 2, 1});
  // e_1 = (0 + 3) / sqrt(2), e_2 = (2 * 2 + 1) / sqrt(2); the state after the last event is not used
  const auto out = module->attend(x, h);
  const auto second = 1 / (1 + std::exp(-2 / std::sqrt(2.0)));
  CHECK_THAT(out.weights, IsNear(torch::tensor({{1 - second, second}}).to(torch::kFloat32), 1e-6));
  CHECK(out.output.item<float>() == Approx(3 * (1 - second) + second));
}

TEST_CASE("TemporalAttention: the causal context of step t is the plain one of the first t events") {
  auto causal = make_temporal(true);
  auto plain = make_temporal(false);
  torch::NoGradGuard no_grad;
  plain->weight.copy_(causal->weight);
  const auto x = random_doubles({2, 4, 2});
  const auto h = random_doubles({2, 4, 3});
  const auto out = causal->attend(x, h);
  for (int64_t t = 0; t < 4; ++t) {
    const auto first = plain->attend(x.slice(1, 0, t + 1), h.slice(1, 0, t + 1));
    CHECK_THAT(out.output.select(1, t), IsNear(first.output, 1e-12));
    CHECK_THAT(out.weights.select(1, t).slice(1, 0, t + 1), IsNear(first.weights, 1e-12));
    CHECK(out.weights.select(1, t).slice(1, t + 1).abs().sum().item<double>() == 0);
  }
}

TEST_CASE("TemporalAttention: padding is not read, rows and steps without events are 0") {
  const bool causal = GENERATE(true, false);
  auto module = make_temporal(causal);
  const auto valid = padding_mask(torch::tensor({3, 1, 0}), 3);
  const auto x = random_doubles({3, 3, 2});
  const auto h = random_doubles({3, 3, 3});
  const auto bad_x = x.masked_fill(~valid.unsqueeze(-1), NAN).requires_grad_();
  const auto bad_h = h.masked_fill(~valid.unsqueeze(-1), NAN).requires_grad_();
  const auto out = module->attend(bad_x, bad_h, valid);
  CHECK(out.output.equal(module->forward(x, h, valid)));
  CHECK(out.output[2].abs().max().item<double>() == 0);
  CHECK(out.weights[2].abs().max().item<double>() == 0);
  if (causal) {
    CHECK(out.output[1].slice(0, 1).abs().max().item<double>() == 0);
    CHECK(out.weights[1].slice(0, 1).abs().max().item<double>() == 0);
  } else {
    CHECK_THAT(out.output[1], IsNear(x[1][0], 1e-12));
  }
  out.output.sum().backward();
  CHECK(torch::isfinite(bad_x.grad()).all().item<bool>());
  CHECK(torch::isfinite(bad_h.grad()).all().item<bool>());
  CHECK(torch::isfinite(module->weight.grad()).all().item<bool>());
}

TEST_CASE("TemporalAttention: no steps, wrong sizes") {
  CHECK(make_temporal(true)->forward(random_doubles({2, 0, 2}), random_doubles({2, 0, 3})).sizes() ==
        torch::IntArrayRef({2, 0, 2}));
  CHECK(make_temporal(false)
            ->forward(random_doubles({2, 0, 2}), random_doubles({2, 0, 3}))
            .equal(torch::zeros({2, 2}, torch::kFloat64)));
  CHECK_THROWS_WITH(TemporalAttention(0, 3), StartsWith("TemporalAttention: input_size must be positive, got 0"));
  CHECK_THROWS_WITH(make_temporal(true)->forward(random_doubles({2, 4, 3}), random_doubles({2, 4, 3})),
                    StartsWith("TemporalAttention: x must be [B, T, 2], got [2, 4, 3]"));
  CHECK_THROWS_WITH(
      make_temporal(true)->forward(random_doubles({2, 4, 2}), random_doubles({2, 5, 3})),
      StartsWith("TemporalAttention: states must have the batch and steps of x, [2, 4, 2], got [2, 5, 3]"));
}
