#include "polyscene/models/scene/m2m.h"

#include "../tiny.h"
#include "catch.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/row_attention.h"

using namespace polyscene;
using models::M2M;
using models::M2MOptions;

TEST_CASE("MetaLinear: weights are linear in the scene's vector") {
  nn::MetaLinear layer(1, 2, 1);
  {
    torch::NoGradGuard no_grad;
    layer->weight->weight.copy_(torch::tensor({{1.f}, {2.f}}));
    layer->weight->bias.copy_(torch::tensor({0.5f, 0.f}));
    layer->bias->weight.fill_(10);
    layer->bias->bias.fill_(1);
  }
  const auto scenes = torch::tensor({{1.f}, {-1.f}});
  const nn::SceneGroups groups{{0, 1, 2}};
  const auto x = torch::tensor({{2.f, 3.f}, {2.f, 3.f}});
  // (1.5, 2) . (2, 3) + 11 and (-0.5, -2) . (2, 3) - 9, which leaks.
  const auto wanted = torch::tensor({{20.f}, {-0.16f}});
  CHECK_THAT(layer->forward(x, scenes, groups), IsNear(wanted));
  const auto fixed = layer->forward(x.narrow(1, 0, 1), scenes, groups, torch::tensor({3.f}));
  CHECK_THAT(fixed, IsNear(wanted));
}

TEST_CASE("row_attention: raw loops equal operators") {
  torch::manual_seed(1);
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    const auto qkv = (3 * torch::randn({37, 5, 3 * 6}, type)).detach().requires_grad_();
    const auto g = torch::randn({37, 5, 6}, type);
    std::vector<torch::Tensor> found[2];
    for (const bool raw : {false, true}) {
      std::unique_ptr<nn::PlainGuard> guard(raw ? nullptr : new nn::PlainGuard);
      const auto out = nn::row_attention(qkv, 2);
      found[raw] = torch::autograd::grad({(out * g).sum()}, {qkv});
      found[raw].push_back(out);
    }
    for (size_t i = 0; i < 2; ++i) {
      CHECK_THAT(found[1][i], IsNear(found[0][i], type == torch::kFloat32 ? 1e-5 : 1e-12));
    }
  }
  CHECK(nn::row_attention(torch::zeros({0, 5, 6}), 1).sizes() == torch::IntArrayRef({0, 5, 2}));
  CHECK_THROWS_WITH(nn::row_attention(torch::zeros({1, 5, 6}), 4),
                    StartsWith("row_attention: qkv must be [B, F, 3 D]"));
}

TEST_CASE("M2M: a row does not attend to other rows") {
  torch::manual_seed(1);
  M2M model(tiny_schema());
  {
    torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.normal_(0, 0.3);
  }
  model->eval();
  const auto batch = tiny_batch();
  const auto all = model->forward(batch);
  CHECK(all.sizes() == torch::IntArrayRef{8});
  for (int64_t b = 0; b < 8; ++b) {
    CHECK_THAT(model->forward(batch.take(torch::tensor({b}))), IsNear(all.narrow(0, b, 1), 1e-5));
  }
  CHECK((all.narrow(0, 1, 7) - all[0]).abs().min().item<double>() > 1e-4);
  const auto weights = model->explain(batch).back();
  CHECK(weights.first == "attention");
  CHECK_THAT(weights.second.sum(1), IsNear(torch::ones({8})));
}
