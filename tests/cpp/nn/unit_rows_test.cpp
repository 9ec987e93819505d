#include "polyscene/nn/unit_rows.h"

#include "catch.h"
#include "polyscene/nn/plain.h"

namespace polyscene::nn {
namespace {

TEST_CASE("Unit rows and their gradient equal plain operators") {
  torch::manual_seed(0);
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    for (const int64_t width : {1, 7, 16, 37}) {
      for (const int64_t every : {0, 3}) {
        auto x = torch::randn({6, width}, type).requires_grad_();
        const auto weight = torch::randn({6, width}, type);
        const auto run = [&] {
          const auto out = unit_rows(x, every);
          return std::pair(out.detach(), torch::autograd::grad({(out * weight).sum()}, {x})[0]);
        };
        const auto [found, slope] = run();
        const PlainGuard guard;
        const auto [expected, wanted] = run();
        const double tolerance = type == torch::kFloat32 ? 1e-5 : 1e-12;
        CHECK(torch::allclose(found, expected, tolerance, tolerance));
        CHECK(torch::allclose(slope, wanted, tolerance, tolerance));
        CHECK(torch::allclose(found.norm(2, 1)[1], torch::ones({}, type), tolerance, tolerance));
        if (every > 0) CHECK(torch::equal(found[3], x.detach()[3]));
      }
    }
  }
}

TEST_CASE("Unit rows: a row of zeros stays so, no rows are taken, and other shapes are refused") {
  CHECK(unit_rows(torch::zeros({2, 4})).eq(0).all().item<bool>());
  CHECK(unit_rows(torch::empty({0, 4}), 2).sizes() == at::IntArrayRef({0, 4}));
  CHECK_THROWS_WITH(unit_rows(torch::empty({4, 4}), 3), StartsWith("unit_rows: x must be [n, D] with n a multiple"));
  auto x = torch::randn({2, 4}).requires_grad_();
  const auto twice = [&] { return torch::autograd::grad({unit_rows(x).sum()}, {x}, {}, true, /*create_graph=*/true); };
  CHECK_THROWS_WITH(twice(), StartsWith("unit_rows: derivatives of higher order need a forward under PlainGuard"));
}

}  // namespace
}  // namespace polyscene::nn
