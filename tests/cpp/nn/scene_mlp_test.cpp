#include "polyscene/nn/scene_mlp.h"

#include "grouped.h"

using namespace polyscene::nn;

namespace {

SceneMLP make_mlp(MLPOptions options, int64_t scenes, int64_t experts = 1) {
  SceneMLP module(3, std::move(options), scenes, experts);
  module->to(torch::kFloat64);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : module->parameters()) parameter.copy_(0.7 * torch::randn_like(parameter));
  return module;
}

// Statistics of before, so that calls can be repeated.
std::function<torch::Tensor()> again(SceneMLP module, torch::Tensor x, SceneGroups groups) {
  std::vector<torch::Tensor> kept;
  for (const auto& buffer : module->buffers()) kept.push_back(buffer.clone());
  return [=]() mutable {
    const auto buffers = module->buffers();
    for (size_t i = 0; i < kept.size(); ++i) buffers[i].copy_(kept[i]);
    return module->forward(x, groups);
  };
}

}  // namespace

TEST_CASE("SceneMLP: each scene is an MLP of its own on its rows alone") {
  const std::string norm = GENERATE("none", "batch", "layer");
  const bool training = GENERATE(true, false);
  const auto options = MLPOptions().hidden({5, 4}).output(2).norm(norm).activation("tanh");
  auto module = make_mlp(options, 5);
  module->train(training);
  const auto groups = uneven_groups();
  const auto x = torch::randn({12, 3}, torch::kFloat64);
  const auto out = module->forward(x, groups);  // [12, 1, 2]
  const torch::NoGradGuard no_grad;
  for (int64_t s = 0; s < 5; ++s) {
    if (groups.rows(s) == 0) continue;
    MLP one(3, options);
    one->to(torch::kFloat64);
    one->train(training);
    for (size_t layer = 0; layer < 2; ++layer) {
      auto* linear = one->linears[layer]->as<torch::nn::Linear>();
      linear->weight.copy_(module->weight[layer][s][0]);
      linear->bias.zero_();
      if (module->bias[layer].defined()) linear->bias.copy_(module->bias[layer][s][0]);
      if (norm == "none") continue;
      for (auto& item : one->norms[layer]->named_parameters()) {
        item.value().copy_((item.key() == "weight" ? module->scale : module->shift)[layer][s][0]);
      }
    }
    one->output->weight.copy_(module->weight[2][s][0]);
    one->output->bias.copy_(module->bias[2][s][0]);
    const auto expected = one->forward(x.narrow(0, groups.offsets[s], groups.rows(s)));
    CHECK_THAT(out.detach().narrow(0, groups.offsets[s], groups.rows(s)).squeeze(1), IsNear(expected, 1e-10));
  }
}

TEST_CASE("SceneMLP: raw loops equal operators, with gradients of every parameter") {
  const std::string norm = GENERATE("none", "batch", "layer");
  const int64_t experts = GENERATE(1, 3);
  const bool wide = GENERATE(true, false);  // x of each expert, or the same for all
  auto module = make_mlp(MLPOptions().hidden({4, 5}).output(1).norm(norm), 5, experts);
  const auto x = wide ? random_leaf({12, experts, 3}) : random_leaf({12, 3});
  auto leaves = module->parameters();
  leaves.push_back(x);
  const auto compute = again(module, x, uneven_groups());
  check_against_operators(compute, leaves);
  check_numerically(compute, leaves, 1e-5);
}

TEST_CASE("SceneMLP: experts that read the same rows are one product") {
  auto module = make_mlp(MLPOptions().hidden({4}).norm("batch"), 2, 3);
  const auto groups = SceneGroups{{0, 5, 9}};
  const auto x = torch::randn({9, 3}, torch::kFloat64);
  module->eval();
  const auto wide = x.unsqueeze(1).expand({9, 3, 3});
  CHECK_THAT(module->forward(x, groups).detach(), IsNear(module->forward(wide, groups).detach(), 1e-12));
  CHECK(module->output_size() == 4);
}

TEST_CASE("SceneMLP: no bias in front of batch norm, one everywhere else, each drawn on its own") {
  SceneMLP normed(3, MLPOptions().hidden({4}).norm("batch").output(1), 2, 2);
  CHECK_FALSE(normed->bias[0].defined());
  CHECK(normed->bias[1].defined());
  SceneMLP bare(3, MLPOptions().hidden({4}), 2, 2);
  CHECK(bare->bias[0].defined());
  for (const auto& [first, second] : {std::pair{bare->weight[0][0][0], bare->weight[0][0][1]},
                                      std::pair{bare->weight[0][0][0], bare->weight[0][1][0]}}) {
    CHECK((first - second).abs().max().item<double>() > 0.01);
  }
}

TEST_CASE("SceneMLP: the bits do not depend on threads") {
  auto module = make_mlp(MLPOptions().hidden({8, 8}).output(1).norm("batch"), 3, 2);
  const auto x = random_leaf({1200, 3});
  auto leaves = module->parameters();
  leaves.push_back(x);
  check_threads(again(module, x, SceneGroups{{0, 500, 501, 1200}}), leaves);
}

TEST_CASE("SceneMLP: dropout in training alone, a clone has tensors of its own") {
  auto module = make_mlp(MLPOptions().hidden({64}).norm("batch").dropout(0.5), 2);
  const auto groups = SceneGroups{{0, 5, 9}};
  const auto x = torch::randn({9, 3}, torch::kFloat64);
  CHECK_FALSE(module->forward(x, groups).equal(module->forward(x, groups)));
  module->eval();
  CHECK(module->forward(x, groups).equal(module->forward(x, groups)));
  const auto copy = std::dynamic_pointer_cast<SceneMLPImpl>(module->clone());
  CHECK(copy->forward(x, groups).equal(module->forward(x, groups)));
  const torch::NoGradGuard no_grad;
  copy->weight[0].zero_();
  CHECK_FALSE(copy->forward(x, groups).equal(module->forward(x, groups)));
}

TEST_CASE("SceneMLP: wrong sizes are refused") {
  CHECK_THROWS_WITH(SceneMLP(3, MLPOptions(), 0), StartsWith("SceneMLP: scenes must be positive, got 0"));
  CHECK_THROWS_WITH(SceneMLP(3, MLPOptions(), 1, -1), StartsWith("SceneMLP: experts must be positive, got -1"));
  CHECK_THROWS_WITH(SceneMLP(3, MLPOptions().hidden({0})), StartsWith("MLP: hidden widths must be positive, got [0]"));
  auto module = make_mlp(MLPOptions().hidden({4}), 5);
  CHECK_THROWS_WITH(module->forward(torch::randn({12, 2}, torch::kFloat64), uneven_groups()),
                    StartsWith("SceneMLP: x must be [..., 3], got [12, 2]"));
  CHECK_THROWS_WITH(module->forward(torch::randn({12, 3}, torch::kFloat64), SceneGroups::all(12)),
                    StartsWith("SceneMLP: groups must be of 5 scenes, got 1"));
}

TEST_CASE("SceneMLP: first_with_scene equals the layer on x and the scene's vector side by side") {
  torch::manual_seed(5);
  const bool behind = GENERATE(false, true);
  const auto norm = GENERATE(as<std::string>{}, "none", "batch", "layer");
  const std::vector<int64_t> hidden = GENERATE(std::vector<int64_t>{}, std::vector<int64_t>{4, 3});
  SceneMLP net(5, MLPOptions().hidden(hidden).output(2).norm(norm));
  net->to(torch::kFloat64);
  const auto groups = uneven_groups();
  const auto all = SceneGroups::all(12);
  const auto x = random_leaf({12, 3}), vectors = random_leaf({5, 2});
  std::vector<torch::Tensor> leaves = {x, vectors};
  for (const auto& parameter : net->parameters()) leaves.push_back(parameter);
  const auto got =
      call([&] { return net->after_first(net->first_with_scene(x, vectors, behind, groups), all); }, leaves);
  const auto expected = call(
      [&] {
        std::vector<torch::Tensor> rows;
        for (int64_t s = 0; s < 5; ++s) rows.push_back(vectors[s].expand({groups.rows(s), 2}));
        const auto beside = torch::cat(rows);
        return net->forward(torch::cat(behind ? std::vector{x, beside} : std::vector{beside, x}, 1), all);
      },
      leaves);
  CHECK_THAT(got.out, IsNear(expected.out, 1e-9));
  for (size_t i = 0; i < leaves.size(); ++i) CHECK_THAT(got.grads[i], IsNear(expected.grads[i], 1e-9));
  CHECK_THROWS_WITH(net->first_with_scene(x, vectors.narrow(0, 0, 4), behind, groups),
                    StartsWith("SceneMLP: x must be [B, I] and vectors [5, D] with I + D = 5, got [12, 3] and [4, 2]"));
  CHECK_THROWS_WITH(
      SceneMLP(5, MLPOptions().hidden({2}), 2)->first_with_scene(x, vectors, behind, groups),
      StartsWith("SceneMLP: first_with_scene needs layers that all scenes share and one expert, got 2 and 1"));
}
