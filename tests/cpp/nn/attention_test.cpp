#include "polyscene/nn/attention.h"

#include <cmath>

#include "catch.h"

using namespace polyscene::nn;

namespace {

torch::Tensor row(const std::vector<double>& values) { return torch::tensor(values, torch::kFloat64).view({1, 1, -1}); }

double number(const torch::Tensor& x) { return x.item<double>(); }

}  // namespace

TEST_CASE("Attention scores: values computed by hand") {
  const auto q = row({3, 4});
  const auto k = row({1, 2});
  CHECK(number(dot_scores(q, k)) == Approx(11));
  CHECK(number(scaled_dot_scores(q, k)) == Approx(11 / std::sqrt(2.0)));
  CHECK(number(cosine_scores(q, k)) == Approx(11 / (5 * std::sqrt(5.0))));
  const auto weight = torch::tensor({{1.0, 0.0}, {2.0, -1.0}}, torch::kFloat64);
  // q W = (3 + 8, -4) = (11, -4), times k: 11 - 8
  CHECK(number(bilinear_scores(q, k, weight)) == Approx(3));
  // W q = (3, 2), W k = (1, 0), b = (-4, -1): tanh(0) * 5 + tanh(1) * 2
  const auto bias = torch::tensor({-4.0, -1.0}, torch::kFloat64);
  const auto vector = torch::tensor({5.0, 2.0}, torch::kFloat64);
  CHECK(number(additive_scores(q, k, weight, weight, bias, vector)) == Approx(2 * std::tanh(1.0)));
}

TEST_CASE("cosine_scores: a zero vector scores 0 with finite gradients") {
  const auto q = torch::zeros({1, 1, 3}, torch::kFloat64).requires_grad_();
  const auto k = torch::ones({1, 2, 3}, torch::kFloat64).requires_grad_();
  const auto scores = cosine_scores(q, k);
  CHECK(scores.abs().max().item<double>() == 0);
  scores.sum().backward();
  CHECK(torch::isfinite(q.grad()).all().item<bool>());
  CHECK(torch::isfinite(k.grad()).all().item<bool>());
}

TEST_CASE("AttentionScore: refuses what it cannot do") {
  CHECK_THROWS_WITH(AttentionScore(2, 2, AttentionOptions().score("cosin")),
                    StartsWith("AttentionScore: score must be one of dot, scaled_dot, cosine, additive, bilinear, got "
                               "'cosin'; did you mean 'cosine'?"));
  CHECK_THROWS_WITH(AttentionScore(2, 3), StartsWith("AttentionScore: score 'scaled_dot' needs queries and keys of one "
                                                     "width, got 2 and 3; use additive or bilinear"));
  CHECK_THROWS_WITH(AttentionScore(0, 3), StartsWith("AttentionScore: query_size must be positive, got 0"));
  CHECK_THROWS_WITH(AttentionScore(2, 2)->forward(torch::ones({1, 2, 3}), torch::ones({1, 2, 2})),
                    StartsWith("AttentionScore: query must be [B, T, 2], got [1, 2, 3]"));
}

TEST_CASE("AttentionScore: each score has its parameters, a clone has its own") {
  CHECK(AttentionScore(2, 2, AttentionOptions().score("dot"))->parameters().empty());
  CHECK(AttentionScore(2, 3, AttentionOptions().score("bilinear"))->parameters().size() == 1);
  AttentionScore score(2, 3, AttentionOptions().score("additive").hidden(5));
  CHECK(score->vector.sizes() == torch::IntArrayRef({5}));
  const auto copy = std::dynamic_pointer_cast<AttentionScoreImpl>(score->clone());
  CHECK(copy->vector.equal(score->vector));
  CHECK_FALSE(copy->vector.is_same(score->vector));
  CHECK(copy->named_parameters()["vector"].is_same(copy->vector));
}

TEST_CASE("Attention: weights add up to 1 over what may be attended to") {
  for (const auto* score : {"dot", "scaled_dot", "cosine", "additive", "bilinear"}) {
    Attention attention(3, 3, AttentionOptions().score(score));
    attention->to(torch::kFloat64);
    const auto x = torch::randn({2, 4, 3}, torch::kFloat64);
    const auto mask = torch::ones({4, 4}).tril(-1).to(torch::kBool);
    const auto out = attention->attend(x, x, x, mask);
    CHECK_THAT(out.weights.sum(-1), IsNear(torch::tensor({0., 1., 1., 1.}, torch::kFloat64).expand({2, 4}), 1e-12));
    CHECK_THAT(out.output.select(1, 0), IsNear(torch::zeros({2, 3}, torch::kFloat64)));
    CHECK_THAT(out.output.select(1, 1), IsNear(x.select(1, 0), 1e-12));
    CHECK(attention->forward(x, x, x, mask).equal(out.output));
  }
  CHECK_THROWS_WITH(Attention(2, 2)->forward(torch::ones({1, 2, 2}), torch::ones({1, 3, 2}), torch::ones({1, 2, 2})),
                    StartsWith("Attention: value must be [B, 3, Dv], as many as keys, got [1, 2, 2]"));
}
