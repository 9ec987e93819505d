#include "catch.h"

TEST_CASE("IsNear: refuses other values, shapes, types and undefined tensors") {
  const auto x = torch::tensor({1.0, 2.0}, torch::kFloat64);
  CHECK_THAT(x + 1e-7, IsNear(x));
  CHECK_THAT(x * 1.01, IsNear(x, 0, 0.02));
  CHECK_THAT(x + 1e-5, !IsNear(x));
  CHECK_THAT(x.unsqueeze(0), !IsNear(x));
  CHECK_THAT(x.to(torch::kFloat32), !IsNear(x));
  CHECK_THAT(torch::Tensor(), !IsNear(x));
  CHECK_THAT(torch::full({2}, NAN, torch::kFloat64), !IsNear(x));
}
