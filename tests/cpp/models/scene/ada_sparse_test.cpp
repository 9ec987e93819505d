#include "polyscene/models/scene/ada_sparse.h"

#include "../tiny.h"
#include "catch.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/prune.h"

using namespace polyscene;
using models::AdaSparse;
using models::AdaSparseOptions;

TEST_CASE("prune: weak factors are 0, and gradients pass the step as the form says") {
  const auto h = torch::tensor({{1.0, 2.0, 3.0}, {4.0, 5.0, 6.0}}, torch::kFloat64).requires_grad_();
  const auto s = torch::tensor({{0.1, 0.2, 0.6}, {0.9, 0.1, 0.1}}, torch::kFloat64);
  const auto slope = s * (1 - s);
  const auto shift = torch::tensor({{0.5, 0.0, -1.0}, {1.0, 1.0, 0.0}}, torch::kFloat64).requires_grad_();
  const nn::SceneGroups groups{{0, 1, 2}};
  const auto u = (torch::logit(s) - shift.detach()).requires_grad_();
  const auto scaled = nn::prune(h, u, shift, groups, /*scale=*/2, /*threshold=*/0.3, /*binary=*/false);
  CHECK_THAT(scaled.out, IsNear(torch::tensor({{0.0, 0.8, 3.6}, {7.2, 0.0, 0.0}}, torch::kFloat64), 1e-12));
  CHECK_THAT(scaled.kept, IsNear(torch::tensor({2 / 3.0, 1 / 3.0}, torch::kFloat64), 1e-12));
  scaled.out.sum().backward();
  const auto passed = torch::tensor({{0.0, 4.0, 6.0}, {8.0, 0.0, 0.0}}, torch::kFloat64);
  CHECK_THAT(u.grad(), IsNear(passed * slope, 1e-12));
  CHECK_THAT(shift.grad(), IsNear(passed * slope, 1e-12));
  u.mutable_grad().reset();
  const auto stepped = nn::prune(h, u, shift, groups, /*scale=*/1, /*threshold=*/0.3, /*binary=*/true);
  CHECK_THAT(stepped.out, IsNear(torch::tensor({{0.0, 0.0, 3.0}, {4.0, 0.0, 0.0}}, torch::kFloat64), 1e-12));
  stepped.out.sum().backward();
  CHECK_THAT(u.grad(), IsNear(h.detach() * slope, 1e-12));
  u.mutable_grad().reset();
  nn::prune(h, u, shift, groups, 2, 0.3, false).kept.sum().backward();
  CHECK_THAT(u.grad(), IsNear(slope * 2 / 3, 1e-12));
  CHECK_THROWS_WITH(nn::prune(h, u.narrow(1, 0, 2), shift, groups, 1, 0, true),
                    StartsWith("prune: h and u must be [2, N] alike"));
}

TEST_CASE("prune: raw loops equal operators") {
  torch::manual_seed(1);
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    for (const bool binary : {false, true}) {
      const auto h = torch::randn({37, 21}, type).requires_grad_(), u = (8 * torch::randn({37, 21}, type)).detach();
      u.requires_grad_();
      const auto shift = torch::randn({3, 21}, type).requires_grad_();
      const auto g = torch::randn({37, 21}, type), k = torch::randn({37}, type);
      const nn::SceneGroups groups{{0, 20, 20, 37}};
      std::vector<torch::Tensor> found[2];
      for (const bool raw : {false, true}) {
        std::unique_ptr<nn::PlainGuard> guard(raw ? nullptr : new nn::PlainGuard);
        const auto out = nn::prune(h, u, shift, groups, 1.5, 0.6, binary);
        found[raw] = torch::autograd::grad({(out.out * g).sum() + (out.kept * k).sum()}, {h, u, shift});
        found[raw].push_back(out.out);
        found[raw].push_back(out.kept);
      }
      for (size_t i = 0; i < 5; ++i) {
        CHECK_THAT(found[1][i], IsNear(found[0][i], type == torch::kFloat32 ? 2e-6 : 1e-12));
      }
    }
  }
}

TEST_CASE("AdaSparse: the sparsity term counts pruned factors by scene") {
  AdaSparse model(tiny_schema(), AdaSparseOptions().hidden({2}).dropout(0).sparsity(3).least(0.2).most(0.4));
  {
    torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.zero_();
    // v = 2 sigma(u) with u = -100 in scene 1: all its factors of both layers are 0, those of scene 0 are 1.
    model->scene_vectors[1].fill_(1);
    for (auto& weight : model->pruner_scene) weight.fill_(-100);
  }
  model->eval();
  const auto batch = tiny_batch();  // 5 rows of scene 0, 3 of scene 1
  const auto found = model->explain(batch);
  CHECK(found.back().first == "pruned");
  CHECK_THAT(found.back().second, IsNear(batch.scene.to(torch::kFloat32).unsqueeze(1).expand({8, 2}).contiguous()));
  const double term = 3 * 2 * (5 * 0.3 * 0.3 + 3 * 0.7 * 0.7) / 8;
  CHECK(model->loss(batch).item<double>() == Approx(std::log(2.0) + term).epsilon(1e-5));
  CHECK(model->alpha.item<double>() == 1);
  model->train();
  model->loss(batch);
  CHECK(model->alpha.item<double>() == Approx(1 + 1e-4).epsilon(1e-7));
}
