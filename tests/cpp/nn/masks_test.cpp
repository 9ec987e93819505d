#include "polyscene/nn/masks.h"

#include "catch.h"

using namespace polyscene::nn;

TEST_CASE("padding_mask: true for the first `length` steps") {
  const auto mask = padding_mask(torch::tensor({2, 0, 3}), 3);
  const auto expected = torch::tensor({1, 1, 0, 0, 0, 0, 1, 1, 1}).view({3, 3}).to(torch::kBool);
  CHECK(mask.equal(expected));
  CHECK_THROWS_WITH(padding_mask(torch::ones({2}), 3),
                    StartsWith("padding_mask: lengths must be integers [B], got Float [2]"));
  CHECK_THROWS_WITH(padding_mask(torch::tensor({2}), -1),
                    StartsWith("padding_mask: steps must not be negative, got -1"));
}

TEST_CASE("causal_mask: a step sees itself and what came before") {
  CHECK(causal_mask(4).equal(torch::ones({4, 4}).tril().to(torch::kBool)));
  CHECK(causal_mask(0).sizes() == torch::IntArrayRef({0, 0}));
}

TEST_CASE("attention_mask: valid keys, none after the step when causal") {
  const auto valid = padding_mask(torch::tensor({2, 1}), 3);
  CHECK(attention_mask(valid, false).equal(valid.unsqueeze(1)));
  const auto mask = attention_mask(valid, true);
  CHECK(mask.sizes() == torch::IntArrayRef({2, 3, 3}));
  CHECK(mask[0].equal(torch::tensor({1, 0, 0, 1, 1, 0, 1, 1, 0}).view({3, 3}).to(torch::kBool)));
  CHECK(mask[1].equal(torch::tensor({1, 0, 0, 1, 0, 0, 1, 0, 0}).view({3, 3}).to(torch::kBool)));
  CHECK_THROWS_WITH(attention_mask(torch::ones({2, 3}), true),
                    StartsWith("attention_mask: valid must be bool [B, T], got Float [2, 3]"));
}

TEST_CASE("masked_softmax: hidden scores get 0, a row with nothing to attend to is all 0 with finite gradients") {
  auto scores = torch::tensor({{1.0, 2.0, 100.0}, {1.0, 2.0, 3.0}}, torch::kFloat64).requires_grad_();
  const auto mask = torch::tensor({1, 1, 0, 0, 0, 0}).view({2, 3}).to(torch::kBool);
  const auto weights = masked_softmax(scores, mask);
  // softmax(1, 2) = 1 / (1 + e), e / (1 + e)
  CHECK_THAT(
      weights.detach(),
      IsNear(torch::tensor({{0.2689414213699951, 0.7310585786300049, 0.0}, {0.0, 0.0, 0.0}}, torch::kFloat64), 1e-12));
  weights.select(1, 0).sum().backward();
  CHECK_THAT(
      scores.grad(),
      IsNear(torch::tensor({{0.1966119332414819, -0.1966119332414819, 0.0}, {0.0, 0.0, 0.0}}, torch::kFloat64), 1e-12));
  CHECK_THROWS_WITH(masked_softmax(scores, torch::ones({2, 3})),
                    StartsWith("masked_softmax: mask must be bool, got Float"));
}

TEST_CASE("masked_softmax: no NaN comes from hidden scores, in half precision neither") {
  const auto scores = torch::tensor({1.0, double{NAN}, double{INFINITY}}, torch::kFloat64);
  const auto mask = torch::tensor({1, 0, 0}).to(torch::kBool);
  for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kBFloat16, torch::kHalf}) {
    CHECK_THAT(masked_softmax(scores.to(type), mask), IsNear(torch::tensor({1.0, 0.0, 0.0}).to(type)));
  }
}

TEST_CASE("pad_ragged: the newest events of a long row are kept") {
  const auto values = torch::arange(6).view({6, 1}) * torch::tensor({1, 10});
  const auto offsets = torch::tensor({0, 3, 3, 4, 6});
  const auto all = pad_ragged(values, offsets);
  CHECK(all.values.sizes() == torch::IntArrayRef({4, 3, 2}));
  CHECK(all.valid.equal(padding_mask(torch::tensor({3, 0, 1, 2}), 3)));
  CHECK(all.values.select(2, 1).equal(torch::tensor({0, 10, 20, 0, 0, 0, 30, 0, 0, 40, 50, 0}).view({4, 3})));
  const auto cut = pad_ragged(values, offsets, 2);
  CHECK(cut.values.select(2, 0).equal(torch::tensor({1, 2, 0, 0, 3, 0, 4, 5}).view({4, 2})));
  CHECK(cut.valid.sum().item<int64_t>() == 5);
}

TEST_CASE("pad_ragged: no rows, empty rows and wrong offsets") {
  const auto none = torch::zeros({0, 2});
  CHECK(pad_ragged(none, torch::tensor({0}, torch::kLong)).values.sizes() == torch::IntArrayRef({0, 0, 2}));
  CHECK(pad_ragged(none, torch::tensor({0, 0, 0})).valid.sizes() == torch::IntArrayRef({2, 0}));
  const auto values = torch::arange(3);
  CHECK_THROWS_WITH(pad_ragged(values, torch::tensor({0, 4})),
                    StartsWith("pad_ragged: offsets run to 4, but there are 3 values"));
  CHECK_THROWS_WITH(pad_ragged(values, torch::tensor({0, 2, 1})), StartsWith("pad_ragged: offsets must not decrease"));
  CHECK_THROWS_WITH(pad_ragged(values, torch::tensor({0.F, 2.F})),
                    StartsWith("pad_ragged: offsets must be int64 [B + 1], got Float [2]"));
  CHECK_THROWS_WITH(pad_ragged(values, torch::tensor({0, 2}), -1),
                    StartsWith("pad_ragged: max_steps must not be negative, got -1"));
}

TEST_CASE("unpad_ragged: gives back what pad_ragged took, gradients included") {
  const auto values = torch::randn({7, 3}, torch::kFloat64).requires_grad_();
  const auto offsets = torch::tensor({0, 3, 3, 7, 7});
  const auto padded = pad_ragged(values, offsets);
  const auto back = unpad_ragged(padded.values, padded.valid);
  CHECK(back.values.equal(values));
  CHECK(back.offsets.equal(offsets));
  back.values.sum().backward();
  CHECK(values.grad().equal(torch::ones({7, 3}, torch::kFloat64)));
}

TEST_CASE("check_valid: names the owner and what is wrong") {
  const auto valid = padding_mask(torch::tensor({2, 1}), 3);
  CHECK_NOTHROW(check_valid("Owner", valid, 2, 3));
  CHECK_THROWS_WITH(check_valid("Owner", valid, 2, 4), StartsWith("Owner: valid must be [2, 4], got [2, 3]"));
  CHECK_THROWS_WITH(check_valid("Owner", valid.to(torch::kInt), 2, 3),
                    StartsWith("Owner: valid must be bool, got Int"));
  CHECK_THROWS_WITH(
      check_valid("Owner", valid.flip(1), 2, 3),
      StartsWith("Owner: the valid events of a row must come before its padding, as pad_ragged lays them"));
}

TEST_CASE("zero_padding: neither NaN nor its gradient gets through") {
  const auto x = torch::tensor({1.0, double{NAN}}, torch::kFloat64).view({1, 2, 1}).requires_grad_();
  const auto y = zero_padding(x, padding_mask(torch::tensor({1}), 2));
  CHECK_THAT(y.detach().flatten(), IsNear(torch::tensor({1.0, 0.0}, torch::kFloat64)));
  (y * y).sum().backward();
  CHECK_THAT(x.grad().flatten(), IsNear(torch::tensor({2.0, 0.0}, torch::kFloat64)));
}
