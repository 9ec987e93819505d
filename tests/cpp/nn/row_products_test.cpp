#include "polyscene/nn/row_products.h"

#include "catch.h"

namespace polyscene::nn {
namespace {

TEST_CASE("Row products and their gradients equal plain operators") {
  torch::manual_seed(0);
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    for (const int64_t width : {1, 7, 16, 37}) {
      auto one = torch::randn({5, width}, type).requires_grad_(),
           many = torch::randn({15, width}, type).requires_grad_();
      const auto weight = torch::randn({5, 3}, type);
      const auto found = row_products(one, many, 3);
      (found * weight).sum().backward();
      const auto d_one = one.grad().clone(), d_many = many.grad().clone();
      one.mutable_grad().reset();
      many.mutable_grad().reset();
      const auto expected = (many.view({5, 3, width}) * one.unsqueeze(1)).sum(2);
      (expected * weight).sum().backward();
      const double tolerance = type == torch::kFloat32 ? 1e-5 : 1e-12;
      CHECK(torch::allclose(found, expected, tolerance, tolerance));
      CHECK(torch::allclose(d_one, one.grad(), tolerance, tolerance));
      CHECK(torch::allclose(d_many, many.grad(), tolerance, tolerance));
    }
  }
}

TEST_CASE("Row products take no rows, and refuse what does not fit") {
  CHECK(row_products(torch::empty({0, 4}), torch::empty({0, 4}), 2).sizes() == at::IntArrayRef({0, 2}));
  CHECK(row_products(torch::empty({3, 4}), torch::empty({0, 4}), 0).sizes() == at::IntArrayRef({3, 0}));
  CHECK_THROWS_WITH(row_products(torch::empty({3, 4}), torch::empty({5, 4}), 2),
                    StartsWith("row_products: one must be [B, D] and many [B K, D] with K = 2, got"));
}

}  // namespace
}  // namespace polyscene::nn
