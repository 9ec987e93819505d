#include "polyscene/nn/losses.h"

#include <cmath>

#include "catch.h"

using namespace polyscene::nn;

namespace {

torch::Tensor matrix(const std::vector<double>& values) { return numbers(values).view({2, 2}); }

}  // namespace

TEST_CASE("bce_with_logits: values by hand, no overflow, labels of any type") {
  const auto loss = bce_with_logits(numbers({0, 2, -800}), torch::tensor({1, 0, 1}));
  CHECK_THAT(loss, IsNear(numbers({std::log(2.0), std::log(1 + std::exp(2.0)), 800}), 1e-12));
  CHECK_THROWS_WITH(bce_with_logits(torch::ones({2, 1}), torch::ones({2})),
                    StartsWith("bce_with_logits: label must have the shape of logits, [2, 1], got [2]"));
}

TEST_CASE("bpr: values by hand, exact far from 0, one positive against several negatives") {
  const auto loss = bpr(numbers({1, 0, 30}), numbers({0, 500, 0}));
  CHECK_THAT(loss, IsNear(numbers({std::log(1 + std::exp(-1.0)), 500, std::log1p(std::exp(-30.0))}), 1e-18, 1e-12));
  const auto many = bpr(numbers({1, 2}), matrix({0, 1, 2, 3}));
  CHECK_THAT(many, IsNear((1 + matrix({-1, 0, 0, 1}).exp()).log(), 1e-12));
}

TEST_CASE("squared_error: values by hand") {
  CHECK_THAT(squared_error(numbers({1, -2}), torch::tensor({3, -2})), IsNear(numbers({4, 0})));
  CHECK_THROWS_WITH(squared_error(torch::ones({2}), torch::ones({3})),
                    StartsWith("squared_error: label must have the shape of prediction, [2], got [3]"));
}

TEST_CASE("embedding_l2: both forms by their golden values, finite gradient at 0") {
  const std::vector<torch::Tensor> blocks = {matrix({1, 2, 3, 4}), matrix({0, 1, 1, 0})};
  CHECK(embedding_l2(blocks, false).item<double>() == Approx(3.4457195687).epsilon(1e-10));
  CHECK(embedding_l2(blocks, true).item<double>() == Approx(8.0).epsilon(1e-12));
  const auto zero = torch::zeros({2, 3}, torch::kFloat64).requires_grad_();
  embedding_l2({zero}, false).backward();
  CHECK(torch::isfinite(zero.grad()).all().item<bool>());
  CHECK(embedding_l2({torch::zeros({0, 3})}).item<float>() == 0);
  CHECK_THROWS_WITH(embedding_l2({}), StartsWith("embedding_l2: there must be a block [B, ...], got 0 blocks"));
  CHECK_THROWS_WITH(embedding_l2({torch::ones({2, 3}), torch::ones({3, 3})}),
                    StartsWith("embedding_l2: every block must have 2 rows, as the first, got [3, 3]"));
}

TEST_CASE("migration_loss: the golden value, spread around the mean of the anchors") {
  const auto theta = numbers({1, 1}).requires_grad_();
  const std::vector<NamedTensors> anchors = {{{"w", numbers({0, 0})}}, {{"w", numbers({2, 0})}}};
  const auto loss = migration_loss({{"w", theta}}, anchors, /*per_entry=*/false);
  CHECK(loss.item<double>() == Approx(2.0).epsilon(1e-12));
  loss.backward();
  CHECK_THAT(theta.grad(), IsNear(numbers({0, 2}), 1e-12));
  CHECK(migration_loss({{"w", theta}}, anchors).item<double>() == Approx(1.0).epsilon(1e-12));
  CHECK(migration_loss({{"w", theta}}, {{{"w", numbers({1, 1})}}}).item<double>() == 0);
}

TEST_CASE("migration_loss: each parameter is averaged over the models that have it") {
  const NamedTensors parameters = {{"a", numbers({1})}, {"b", numbers({1, 3})}, {"head", numbers({9})}};
  const std::vector<NamedTensors> anchors = {{{"a", numbers({0})}, {"b", numbers({1, 1})}},
                                             {{"a", numbers({4})}, {"other", numbers({7, 7, 7})}}};
  // a: (1 + 9) / 2, b: 4 / 2 entries, head: nothing
  CHECK(migration_loss(parameters, anchors).item<double>() == Approx(7.0).epsilon(1e-12));
  CHECK(migration_loss(parameters, anchors, true, {{"a", 0.1}}).item<double>() == Approx(2.5).epsilon(1e-12));
  CHECK(migration_loss(parameters, anchors, false).item<double>() == Approx(9.0).epsilon(1e-12));
}

TEST_CASE("migration_loss: exact words for anchors that do not fit") {
  const NamedTensors parameters = {{"weight", numbers({1, 2})}};
  CHECK_THROWS_WITH(migration_loss(parameters, {}), StartsWith("migration_loss: there must be an anchor, got none"));
  CHECK_THROWS_WITH(migration_loss(parameters, {{{"weight", numbers({1})}}}),
                    StartsWith("migration_loss: parameter 'weight' is [2], but an anchor has [1]"));
  CHECK_THROWS_WITH(migration_loss(parameters, {{{"bias", numbers({1})}}}),
                    StartsWith("migration_loss: the anchors share no parameter with the model, which has: weight"));
  CHECK_THROWS_WITH(migration_loss(parameters, {parameters}, true, {{"weigt", 2}}),
                    StartsWith("migration_loss: a weight is given for 'weigt', which is not a parameter; did you mean "
                               "'weight'?"));
}

TEST_CASE("bpr_max: the golden values of the sheet") {
  const auto positive = torch::ones({1}, torch::kFloat64), negative = torch::tensor({{0., 2.}}, torch::kFloat64);
  CHECK(bpr_max(positive, negative, 1).item<double>() == Approx(4.6501163230));
  CHECK(bpr_max(positive, negative, 0).item<double>() == Approx(1.1269280110));
}

TEST_CASE("top1: by hand") {
  const auto out = top1(torch::zeros({1}), torch::tensor({{0.f, 1.f}}));
  const double one = 1 / (1 + std::exp(-1.));
  CHECK(out.item<double>() == Approx((0.5 + 0.5 + one + one) / 2));
}
