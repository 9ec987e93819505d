#include "polyscene/nn/mixture.h"

#include "grouped.h"

using namespace polyscene::nn;

TEST_CASE("mixture: two experts by hand") {
  const auto weight = torch::tensor({{0.25, 0.75}}, torch::kFloat64);
  const auto values = torch::tensor({{{4.0, 8.0}, {-4.0, 0.0}}}, torch::kFloat64);
  CHECK_THAT(mixture(weight, values), IsNear(torch::tensor({{-2.0, 2.0}}, torch::kFloat64), 1e-12));
}

TEST_CASE("mixture: raw loops equal operators, with their gradients") {
  const int64_t rows = GENERATE(1, 9);
  const int64_t experts = GENERATE(1, 3);
  const auto weight = random_leaf({rows, experts});
  const auto values = random_leaf({rows, experts, 5});
  const auto compute = [&] { return mixture(weight, values); };
  check_against_operators(compute, {weight, values});
  check_numerically(compute, {weight, values});
}

TEST_CASE("mixture: a view is read by its strides") {
  const auto weight = random_leaf({3, 9});
  const auto values = random_leaf({9, 5, 3});
  check_against_operators([&] { return mixture(weight.t(), values.transpose(1, 2)); }, {weight, values});
}

TEST_CASE("pair_products: three fields by hand, raw loops equal operators") {
  const auto slots = torch::tensor({{{1.0, 2.0}, {3.0, 0.0}, {-1.0, 1.0}}}, torch::kFloat64);
  CHECK_THAT(pair_products(slots), IsNear(torch::tensor({3.0 + 1.0 - 3.0}, torch::kFloat64), 1e-12));
  const int64_t fields = GENERATE(1, 2, 6);
  const auto x = random_leaf({7, fields, 4});
  const auto compute = [&] { return pair_products(x); };
  if (fields == 1) {
    CHECK_THAT(compute().detach(), IsNear(torch::zeros({7}, torch::kFloat64), 1e-12));
    return;
  }
  check_against_operators(compute, {x});
  check_numerically(compute, {x});
}

TEST_CASE("mixture, pair_products: the bits do not depend on threads") {
  const auto weight = torch::randn({5000, 4}).requires_grad_();
  const auto values = torch::randn({5000, 4, 8}).requires_grad_();
  check_threads([&] { return mixture(weight, values); }, {weight, values});
  check_threads([&] { return pair_products(values); }, {values});
}

TEST_CASE("mixture, pair_products: no rows at all") {
  const auto weight = random_leaf({0, 2});
  const auto values = random_leaf({0, 2, 3});
  CHECK(mixture(weight, values).sizes() == torch::IntArrayRef({0, 3}));
  CHECK(pair_products(values).sizes() == torch::IntArrayRef({0}));
  (mixture(weight, values).sum() + pair_products(values).sum()).backward();
  CHECK(values.grad().sizes() == values.sizes());
}

TEST_CASE("mixture, pair_products: second derivatives and wrong shapes are refused") {
  const auto weight = random_leaf({3, 2});
  const auto values = random_leaf({3, 2, 4});
  check_double_backward([&] { return mixture(weight, values); }, values, "mixture");
  check_double_backward([&] { return pair_products(values); }, values, "pair_products");
  CHECK_THROWS_WITH(mixture(weight.t(), values),
                    StartsWith("mixture: weight must be [B, E] and values [B, E, H], got [2, 3] and [3, 2, 4]"));
  CHECK_THROWS_WITH(mixture(weight.narrow(1, 0, 0), values.narrow(1, 0, 0)),
                    StartsWith("mixture: weight must be [B, E] and values [B, E, H], got [3, 0] and [3, 0, 4]"));
  CHECK_THROWS_WITH(pair_products(weight), StartsWith("pair_products: slots must be [B, F, D], got [3, 2]"));
}
