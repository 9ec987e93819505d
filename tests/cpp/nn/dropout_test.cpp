#include "polyscene/nn/dropout.h"

#include <ATen/Parallel.h>

#include "grouped.h"

using namespace polyscene::nn;

TEST_CASE("dropout: drops the share that was asked for, scales the rest, and keeps the mean") {
  torch::manual_seed(1);
  const double p = GENERATE(0.1, 0.5, 0.9);
  const auto x = torch::ones({1000, 400});
  const auto y = drop(x, p, true);
  const auto kept = (y != 0).to(torch::kFloat64);
  // Five standard deviations of the mean of 400,000 draws.
  CHECK(std::abs(kept.mean().item<double>() - (1 - p)) < 5 * std::sqrt(p * (1 - p) / 4e5));
  CHECK(torch::allclose(y.masked_select(y != 0), torch::full({1}, static_cast<float>(1 / (1 - p)))));
  // No column, row or neighbour goes along with another.
  CHECK((kept.mean(0) - (1 - p)).abs().max().item<double>() < 5 * std::sqrt(p * (1 - p) / 1000));
  CHECK((kept.mean(1) - (1 - p)).abs().max().item<double>() < 5 * std::sqrt(p * (1 - p) / 400));
  const auto beside = (kept.narrow(1, 1, 399) - (1 - p)) * (kept.narrow(1, 0, 399) - (1 - p));
  const auto below = (kept.narrow(0, 1, 999) - (1 - p)) * (kept.narrow(0, 0, 999) - (1 - p));
  CHECK(std::abs(beside.mean().item<double>()) < 5 * p * (1 - p) / std::sqrt(4e5));
  CHECK(std::abs(below.mean().item<double>()) < 5 * p * (1 - p) / std::sqrt(4e5));
}

TEST_CASE("dropout: the gradient passes where the value did") {
  torch::manual_seed(2);
  const auto x = torch::randn({300, 33}, torch::kFloat64).requires_grad_();
  const auto y = drop(x, 0.4, true);
  y.backward(torch::ones_like(y));
  CHECK(torch::allclose(x.grad(), (y != 0).to(torch::kFloat64) / 0.6));
  CHECK(torch::allclose(y.detach(), x.detach() * x.grad()));
}

TEST_CASE("dropout: a new mask each time, the same one for the same seed, whatever the threads") {
  const auto x = torch::ones({100000});
  const auto before = at::get_num_threads();
  const auto draw = [&](int threads) {
    at::set_num_threads(threads);
    torch::manual_seed(3);
    return drop(x, 0.5, true);
  };
  const auto first = draw(1);
  CHECK(!torch::equal(first, drop(x, 0.5, true)));
  CHECK(torch::equal(first, draw(2)));
  at::set_num_threads(before);
}

TEST_CASE("dropout: nothing happens in evaluation, and p is checked") {
  const auto x = torch::randn({4});
  CHECK(drop(x, 0.5, false).is_same(x));
  CHECK(drop(x, 0, true).is_same(x));
  CHECK_THROWS_WITH(drop(x, 1, true), StartsWith("drop: p must lie in [0, 1), got 1"));
}
