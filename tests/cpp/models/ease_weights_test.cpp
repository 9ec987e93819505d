#include "polyscene/models/ease_weights.h"

#include "catch.h"
#include "cross/tiny_ranking.h"
#include "polyscene/models/inverse.h"

using namespace polyscene;

TEST_CASE("inverse: of a symmetric matrix, row by row") {
  torch::manual_seed(0);
  const auto half = torch::randn({7, 7});
  const auto matrix = half.mm(half.t()) + torch::eye(7);
  const auto found = models::inverse_of(matrix.clone());
  CHECK(found.is_contiguous());
  CHECK_THAT(found, IsNear(at::linalg_inv(matrix), 1e-4));
}

TEST_CASE("ease weights: both sides give the numbers of dense algebra") {
  const auto schema = tiny_ranking_schema();
  const auto known = data::Interactions::of(tiny_table(schema));
  for (int64_t s = 0; s < 2; ++s) {
    const auto& pairs = known->scene(s);
    auto x = torch::zeros({known->users(), known->items()}, torch::kFloat64);
    for (int64_t u = 0; u < known->users(); ++u) {
      for (const auto* i = pairs.begin(u); i != pairs.end(u); ++i) x[u][*i] = 1;
    }
    const auto p = at::linalg_inv(x.t().mm(x) + 2 * torch::eye(known->items(), torch::kFloat64));
    auto b = -p / p.diagonal().unsqueeze(0);
    b.fill_diagonal_(0);
    const models::EaseWeights weights(pairs, 2);
    std::vector<float> scratch;
    for (int64_t u = 2; u < known->users(); ++u) {
      auto out = torch::zeros({known->items()});
      weights.add(u, out.data_ptr<float>(), scratch);
      CHECK_THAT(out, IsNear(x[u].matmul(b).to(torch::kFloat32), 1e-5));
    }
  }
}
