#include "polyscene/nn/softmax.h"

#include "grouped.h"

using namespace polyscene::nn;

TEST_CASE("softmax_rows: equals the operator, with its gradient") {
  const int64_t columns = GENERATE(2, 3, 5, 32, 33);
  const int64_t rows = GENERATE(1, 64, 131);
  const auto z = (torch::randn({rows, columns}, torch::kFloat64) * 5).requires_grad_();
  const auto compute = [&] { return softmax_rows(z); };
  check_against_operators(compute, {z});
  if (rows == 1) check_numerically(compute, {z});
  const auto single = z.detach().to(torch::kFloat32);
  CHECK(torch::allclose(softmax_rows(single), single.softmax(1), 1e-5, 1e-7));
}

TEST_CASE("softmax_rows: large numbers do not overflow, NaN stays in its row") {
  const auto z = torch::tensor({{1000.f, 1000.f, -1000.f}, {-1e30f, 0.f, 1.f}, {0.f, NAN, 1.f}, {0.f, 0.f, 0.f}});
  const auto out = softmax_rows(z);
  CHECK(torch::allclose(out[0], torch::tensor({0.5f, 0.5f, 0.f}), 0, 1e-6));
  CHECK(torch::allclose(out[1], z[1].softmax(0), 0, 1e-6));
  const auto masked = torch::tensor({{0.f, -INFINITY}});
  CHECK(torch::equal(softmax_rows(masked), torch::tensor({{1.f, 0.f}})));
  CHECK(out[2].isnan().all().item<bool>());
  CHECK(torch::allclose(out[3], torch::full({3}, 1.f / 3), 0, 1e-6));
  CHECK(torch::equal(softmax_rows(z.narrow(1, 0, 1).narrow(0, 0, 2)), torch::ones({2, 1})));
  CHECK(softmax_rows(torch::zeros({0, 3})).sizes() == torch::IntArrayRef({0, 3}));
  CHECK(softmax_rows(torch::zeros({2, 0})).sizes() == torch::IntArrayRef({2, 0}));
}

TEST_CASE("softmax_rows: the bits do not depend on threads, second derivatives and wrong shapes are refused") {
  const auto z = random_leaf({5000, 3});
  check_threads([&] { return softmax_rows(z); }, {z});
  const auto single = torch::randn({5000, 3}).requires_grad_();
  check_threads([&] { return softmax_rows(single); }, {single});
  const auto x = random_leaf({4, 3});
  check_double_backward([&] { return softmax_rows(x); }, x, "softmax_rows");
  CHECK_THROWS_WITH(softmax_rows(x[0]), StartsWith("softmax_rows: z must be [B, K], got [3]"));
}
