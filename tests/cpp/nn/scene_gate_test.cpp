#include "polyscene/nn/scene_gate.h"

#include "grouped.h"

using namespace polyscene::nn;

TEST_CASE("SceneGate: softmax of the scene's matrix by hand") {
  SceneGate gate(1, 2, 2);
  const torch::NoGradGuard no_grad;
  gate->weight.copy_(torch::tensor({std::log(3.0F), 0.F, 0.F, 0.F}).view({2, 1, 2, 1}));
  const auto out = gate->forward(torch::tensor({1.F, 2.F, 5.F}).unsqueeze(1), SceneGroups{{0, 2, 3}});
  CHECK_THAT(out, IsNear(torch::tensor({{0.75F, 0.25F}, {0.9F, 0.1F}, {0.5F, 0.5F}}), 1e-6));
}

TEST_CASE("SceneGate: raw loops equal operators, rows add up to 1") {
  const bool normed = GENERATE(false, true);
  const bool training = GENERATE(true, false);
  SceneGate gate(3, 4, 5, normed);
  gate->to(torch::kFloat64);
  gate->train(training);
  const auto x = random_leaf({12, 3});
  auto leaves = gate->parameters();
  leaves.push_back(x);
  const auto compute = [&] {
    if (normed) {
      gate->running_mean.zero_();
      gate->running_var.fill_(2);
    }
    return gate->forward(x, uneven_groups());
  };
  check_against_operators(compute, leaves);
  check_numerically(compute, leaves, 1e-5);
  CHECK_THAT(compute().sum(1).detach(), IsNear(torch::ones({12}, torch::kFloat64), 1e-12));
  check_threads(compute, leaves);
  check_double_backward(compute, x, "softmax_rows");
}

TEST_CASE("SceneGate: statistics move for scenes of two rows and more") {
  SceneGate gate(3, 4, 5, true);
  gate->forward(torch::randn({12, 3}), uneven_groups());
  const auto moved = (gate->running_mean != 0).any(1);
  CHECK(moved.equal(torch::tensor({true, false, false, true, false})));
}

TEST_CASE("SceneGate: wrong sizes are refused") {
  CHECK_THROWS_WITH(SceneGate(0, 1), StartsWith("SceneGate: input_size must be positive, got 0"));
  CHECK_THROWS_WITH(SceneGate(2, 0), StartsWith("SceneGate: choices must be positive, got 0"));
  CHECK_THROWS_WITH(SceneGate(2, 1, 0), StartsWith("SceneGate: scenes must be positive, got 0"));
  CHECK_THROWS_WITH(SceneGate(2, 1)->forward(torch::randn({4, 3}), SceneGroups::all(4)),
                    StartsWith("SceneGate: x must be [..., 2], got [4, 3]"));
}
