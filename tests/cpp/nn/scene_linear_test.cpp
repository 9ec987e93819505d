#include "polyscene/nn/scene_linear.h"

#include "grouped.h"

using namespace polyscene::nn;

TEST_CASE("scene_linear: each row meets the matrix of its scene and expert") {
  const auto groups = SceneGroups{{0, 2, 2, 3}};
  const auto x = torch::tensor({{1.0, 2.0}, {3.0, 4.0}, {5.0, 6.0}}, torch::kFloat64).unsqueeze(1);
  auto weight = torch::zeros({3, 1, 1, 2}, torch::kFloat64);
  weight[0][0][0] = torch::tensor({1.0, 10.0}, torch::kFloat64);
  weight[1].fill_(NAN);  // no rows: not read
  weight[2][0][0] = torch::tensor({-1.0, 0.5}, torch::kFloat64);
  const auto bias = torch::tensor({100.0, static_cast<double>(NAN), 7.0}, torch::kFloat64).view({3, 1, 1});
  const auto out = scene_linear(x, weight, bias, groups);
  CHECK_THAT(out.flatten(), IsNear(torch::tensor({121.0, 143.0, 5.0}, torch::kFloat64), 1e-12));
}

TEST_CASE("scene_linear: raw products equal operators, with their gradients") {
  const int64_t experts = GENERATE(1, 3);
  const bool biased = GENERATE(true, false);
  const auto groups = uneven_groups();
  const auto x = random_leaf({12, experts, 4});
  const auto weight = random_leaf({5, experts, 2, 4});
  const auto bias = biased ? random_leaf({5, experts, 2}) : torch::Tensor();
  std::vector<torch::Tensor> leaves = {x, weight};
  if (biased) leaves.push_back(bias);
  const auto compute = [&] { return scene_linear(x, weight, bias, groups); };
  check_against_operators(compute, leaves);
  check_numerically(compute, leaves);
  const auto grad = call(compute, leaves).grads[1];
  for (const int64_t empty : {1, 4}) CHECK(grad[empty].abs().max().item<double>() == 0);
}

TEST_CASE("scene_linear: gradients that are not asked for are not made, strides do not matter") {
  const auto groups = uneven_groups();
  const auto x = torch::randn({2, 12, 3}, torch::kFloat64).transpose(0, 1);  // [12, 2, 3]
  const auto weight = random_leaf({5, 2, 4, 3});
  const auto compute = [&] { return scene_linear(x, weight, {}, groups); };
  check_against_operators(compute, {weight});
  const auto y = torch::randn({12, 2, 3}, torch::kFloat64).requires_grad_();
  const auto fixed = weight.detach();
  check_against_operators([&] { return scene_linear(y, fixed, {}, groups); }, {y});
}

TEST_CASE("scene_linear: the bits do not depend on threads") {
  const auto groups = SceneGroups{{0, 700, 700, 701, 1500}};
  const auto x = random_leaf({1500, 2, 16});
  const auto weight = random_leaf({4, 2, 8, 16});
  const auto bias = random_leaf({4, 2, 8});
  check_threads([&] { return scene_linear(x, weight, bias, groups); }, {x, weight, bias});
}

TEST_CASE("scene_linear: two layers over one x equal each alone, with the sum of their gradients") {
  const bool first_biased = GENERATE(true, false), second_biased = GENERATE(true, false);
  const auto groups = uneven_groups();
  const auto all = SceneGroups::all(12);
  const auto x = random_leaf({12, 4}), weight1 = random_leaf({5, 1, 3, 4}), weight2 = random_leaf({1, 1, 6, 4});
  const auto bias1 = first_biased ? random_leaf({5, 1, 3}) : torch::Tensor();
  const auto bias2 = second_biased ? random_leaf({1, 1, 6}) : torch::Tensor();
  std::vector<torch::Tensor> leaves = {x, weight1, weight2};
  for (const auto& bias : {bias1, bias2}) {
    if (bias.defined()) leaves.push_back(bias);
  }
  const auto together = [&] {
    const auto [a, b] = scene_linear(x, {weight1, bias1, &groups}, {weight2, bias2, &all});
    return torch::cat({a, b.sin()}, 1);
  };
  const auto apart = [&] {
    const auto rows = x.unsqueeze(1);
    return torch::cat({scene_linear(rows, weight1, bias1, groups).squeeze(1),
                       scene_linear(rows, weight2, bias2, all).squeeze(1).sin()},
                      1);
  };
  const auto got = call(together, leaves), expected = call(apart, leaves);
  CHECK_THAT(got.out, IsNear(expected.out, 1e-12));
  for (size_t i = 0; i < leaves.size(); ++i) CHECK_THAT(got.grads[i], IsNear(expected.grads[i], 1e-12));
  check_against_operators(together, leaves);
  // A layer that the loss does not read has no gradient, and leaves no trace in that of x.
  const auto unread = torch::autograd::grad(
      {scene_linear(x, {weight1, bias1, &groups}, {weight2, bias2, &all}).first.sum()}, {x, weight1, weight2}, {},
      /*retain_graph=*/std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
  CHECK(unread[1].defined());
  CHECK_FALSE(unread[2].defined());
  for (const int64_t kept : {0, 1}) {
    const auto one = [&] {
      const auto both = scene_linear(x, {weight1, bias1, &groups}, {weight2, bias2, &all});
      return kept == 0 ? both.first : both.second;
    };
    const auto alone = [&] {
      return kept == 0 ? scene_linear(x.unsqueeze(1), weight1, bias1, groups).squeeze(1)
                       : scene_linear(x.unsqueeze(1), weight2, bias2, all).squeeze(1);
    };
    CHECK_THAT(call(one, {x}).grads[0], IsNear(call(alone, {x}).grads[0], 1e-12));
  }
  CHECK_THROWS_WITH(scene_linear(x.unsqueeze(1), {weight1, bias1, &groups}, {weight2, bias2, &all}),
                    StartsWith("scene_linear: an x that two layers share must be [B, I], got [12, 1, 4]"));
}

TEST_CASE("scene_linear: a bias of one output has the same gradient whatever the threads do") {
  const auto x = torch::randn({100000, 1, 2}), weight = torch::randn({1, 1, 1, 2}).requires_grad_();
  const auto bias = torch::randn({1, 1, 1}).requires_grad_();
  check_threads([&] { return scene_linear(x, weight, bias, SceneGroups::all(100000)); }, {weight, bias});
}

TEST_CASE("scene_linear: no rows at all") {
  const auto x = random_leaf({0, 1, 3});
  const auto weight = random_leaf({2, 1, 4, 3});
  const auto out = scene_linear(x, weight, {}, SceneGroups{{0, 0, 0}});
  CHECK(out.sizes() == torch::IntArrayRef({0, 1, 4}));
  out.sum().backward();
  CHECK(weight.grad().equal(torch::zeros({2, 1, 4, 3}, torch::kFloat64)));
}

TEST_CASE("scene_linear: second derivatives and wrong shapes are refused") {
  const auto groups = uneven_groups();
  const auto x = random_leaf({12, 1, 3});
  const auto weight = random_leaf({5, 1, 2, 3});
  check_double_backward([&] { return scene_linear(x, weight, {}, groups); }, x, "scene_linear");
  CHECK_THROWS_WITH(scene_linear(x, weight[0].unsqueeze(0), {}, groups),
                    StartsWith("scene_linear: weight must be [5, E, O, I], one for each scene, got [1, 1, 2, 3]"));
  CHECK_THROWS_WITH(scene_linear(x.narrow(0, 0, 11), weight, {}, groups),
                    StartsWith("scene_linear: x must be [12, 1, 3], got [11, 1, 3]"));
  CHECK_THROWS_WITH(scene_linear(x.narrow(2, 0, 2), weight, {}, groups),
                    StartsWith("scene_linear: x must be [12, 1, 3], got [12, 1, 2]"));
  CHECK_THROWS_WITH(scene_linear(x, weight, torch::zeros({5, 2}, torch::kFloat64), groups),
                    StartsWith("scene_linear: bias must be [S, E, O] as weight has it, got [5, 2]"));
}
