#include "polyscene/nn/gemm.h"

#include <ATen/Parallel.h>

#include "grouped.h"

using namespace polyscene::nn;

namespace {

// The product in float64, where rounding does not show.
torch::Tensor exact(const torch::Tensor& a, const torch::Tensor& b) {
  return a.to(torch::kFloat64).mm(b.to(torch::kFloat64));
}

bool near(const torch::Tensor& got, const torch::Tensor& expected) {
  return torch::allclose(got.to(torch::kFloat64), expected, 1e-4, 1e-4);
}

}  // namespace

TEST_CASE("product: equals the product in float64, for every rest of rows and columns") {
  torch::manual_seed(1);
  const int64_t depth = GENERATE(1, 7, 300);
  for (const int64_t rows : {1, 2, 3, 4, 6, 11, 12, 13, 29, 241, 500}) {
    for (const int64_t columns : {1, 2, 3, 4, 5, 8, 15, 16, 17, 18, 19, 31, 32, 33, 34, 49, 70, 113}) {
      const auto a = torch::randn({rows, depth}), b = torch::randn({depth, columns});
      auto out = torch::full({rows, columns}, NAN);
      product(out, a, b);
      CAPTURE(rows, columns, depth);
      CHECK(near(out, exact(a, b)));
    }
  }
}

TEST_CASE("product: transposed operands, rows of wider tensors, and adding") {
  torch::manual_seed(2);
  const int64_t rows = GENERATE(5, 40), columns = GENERATE(3, 45), depth = GENERATE(17, 2000);
  const bool add = GENERATE(false, true);
  const auto wide = torch::randn({rows, columns + 9});
  const auto start = wide.clone();
  const auto out = wide.narrow(1, 4, columns);
  const auto expected = [&](const torch::Tensor& value) {
    return add ? value + start.narrow(1, 4, columns).to(torch::kFloat64) : value;
  };
  const auto a = torch::randn({rows, depth}), b = torch::randn({depth, columns});
  const auto check = [&](const torch::Tensor& left, const torch::Tensor& right) {
    wide.copy_(start);
    product(out, left, right, add);
    CHECK(near(out, expected(exact(left, right))));
    CHECK(torch::equal(wide.narrow(1, 0, 4), start.narrow(1, 0, 4)));  // neighbours stay as they were
    CHECK(torch::equal(wide.narrow(1, 4 + columns, 5), start.narrow(1, 4 + columns, 5)));
  };
  check(a, b);
  check(a.t().contiguous().t(), b);
  check(a, b.t().contiguous().t());
  check(a.t().contiguous().t(), b.t().contiguous().t());
  check(torch::randn({rows, 3, depth}).select(1, 1), torch::randn({depth, 2, columns}).select(1, 0));
  check(torch::randn({1, depth}).expand({rows, depth}), torch::randn({1, columns}).expand({depth, columns}));
}

TEST_CASE("product: a number for each column") {
  torch::manual_seed(4);
  const auto type = GENERATE(torch::kFloat32, torch::kFloat64);
  for (const int64_t columns : {1, 16, 40, 75}) {
    const auto a = torch::randn({31, 6}, type), b = torch::randn({6, columns}, type),
               bias = torch::randn({columns}, type);
    auto out = torch::full({31, columns}, NAN, type);
    product(out, a, b, false, bias);
    CHECK(near(out, exact(a, b) + bias.to(torch::kFloat64)));
  }
  auto out = torch::zeros({2, 3});
  const auto wrong = [&](bool add, int64_t size) {
    product(out, torch::ones({2, 1}), torch::ones({1, 3}), add, torch::ones({size}));
  };
  CHECK_THROWS_WITH(wrong(false, 2), StartsWith("product: bias must be [N]"));
  CHECK_THROWS_WITH(wrong(true, 3), StartsWith("product: bias must be [N]"));
}

TEST_CASE("product: a row has the same bits alone and among others, and with any number of threads") {
  torch::manual_seed(3);
  const auto a = torch::randn({1000, 37}), b = torch::randn({37, 50}), grad = torch::randn({1000, 50});
  const auto compute = [&](int threads) {
    at::set_num_threads(threads);
    auto out = torch::empty({1000, 50}), weight = torch::empty({50, 37});
    product(out, a, b);
    product(weight, grad.t(), a);
    return std::pair{out, weight};
  };
  const auto before = at::get_num_threads();
  const auto one = compute(1), two = compute(2);
  at::set_num_threads(before);
  CHECK(torch::equal(one.first, two.first));
  CHECK(torch::equal(one.second, two.second));
  for (const int64_t row : {0, 11, 500, 999}) {
    auto alone = torch::empty({1, 50});
    product(alone, a.narrow(0, row, 1), b);
    CHECK(torch::equal(alone[0], one.first[row]));
  }
}

TEST_CASE("product: float64, empty sides, and shapes that do not fit") {
  const auto a = torch::randn({4, 3}, torch::kFloat64), b = torch::randn({3, 2}, torch::kFloat64);
  auto out = torch::empty({4, 2}, torch::kFloat64);
  product(out, a, b);
  CHECK(torch::allclose(out, a.mm(b), 1e-12, 1e-12));
  auto zeros = torch::ones({4, 2});
  product(zeros, torch::ones({4, 0}), torch::ones({0, 2}));
  CHECK(zeros.abs().sum().item<float>() == 0);
  product(torch::empty({0, 2}), torch::ones({0, 3}), torch::ones({3, 2}));
  const auto wrong = [&] { product(out, a, torch::randn({4, 2}, torch::kFloat64)); };
  CHECK_THROWS_WITH(wrong(), StartsWith("product: out must be [M, N], a [M, K] and b [K, N], got [4, 2], [4, 3]"));
}

TEST_CASE("product: in bfloat16 while the guard lives") {
  torch::manual_seed(5);
  const auto a = torch::randn({50, 64}), b = torch::randn({64, 20}), bias = torch::randn({20});
  const auto rounded = exact(a.to(torch::kBFloat16), b.to(torch::kBFloat16)) + bias.to(torch::kFloat64);
  auto out = torch::empty({50, 20}), plain = torch::empty({50, 20});
  {
    const Bfloat16Guard guard(true);
    product(out, a, b, false, bias);
    const Bfloat16Guard inner(false);
    product(plain, a, b, false, bias);
  }
  CHECK((out.to(torch::kFloat64) - rounded).abs().max().item<double>() < 0.15);  // results of up to 32 have 8 bits
  CHECK(near(plain, exact(a, b) + bias.to(torch::kFloat64)));
  CHECK(!torch::equal(out, plain));
  product(out, a, b, false, bias);
  CHECK(torch::equal(out, plain));
}
