#include "polyscene/nn/norm_activation.h"

#include <cmath>

#include "grouped.h"

using namespace polyscene::nn;

namespace {

// Statistics and parameters of five scenes, all away from their start.
SceneNorm norm_of(int64_t columns, int64_t scenes = 5) {
  return {random_leaf({scenes, columns}), random_leaf({scenes, columns}),
          torch::randn({scenes, columns}, torch::kFloat64), torch::rand({scenes, columns}, torch::kFloat64) + 0.5};
}

}  // namespace

TEST_CASE("norm_activation: two scenes by hand") {
  const auto z = torch::tensor({1.0, 3.0, 5.0}, torch::kFloat64).unsqueeze(1);
  const auto groups = SceneGroups{{0, 2, 3}};
  SceneNorm norm{torch::full({2, 1}, 2.0, torch::kFloat64), torch::full({2, 1}, 1.0, torch::kFloat64),
                 torch::full({2, 1}, 4.0, torch::kFloat64), torch::full({2, 1}, 9.0, torch::kFloat64)};
  const auto out = norm_activation(z, {}, norm, "relu", /*training=*/true, groups);
  // Scene 0: mean 2, variance 1, so 2 (-1) + 1 < 0 and 2 + 1; scene 1 has one row: 2 (5 - 4) / 3 + 1.
  CHECK_THAT(out.flatten(), IsNear(torch::tensor({0.0, 3.0, 5.0 / 3}, torch::kFloat64), 1e-4));
  // Scene 0 moves a tenth of the way to mean 2 and unbiased variance 2, scene 1 does not.
  CHECK_THAT(norm.running_mean.flatten(), IsNear(torch::tensor({3.8, 4.0}, torch::kFloat64), 1e-12));
  CHECK_THAT(norm.running_var.flatten(), IsNear(torch::tensor({8.3, 9.0}, torch::kFloat64), 1e-12));
}

TEST_CASE("norm_activation: raw loops equal operators, with gradients and running statistics") {
  const std::string activation = GENERATE("relu", "leaky_relu", "tanh", "sigmoid", "identity");
  const bool training = GENERATE(true, false);
  const auto groups = uneven_groups();
  const auto z = random_leaf({12, 7});
  auto norm = norm_of(7);
  const auto mean = norm.running_mean.clone(), var = norm.running_var.clone();
  const auto compute = [&] {
    norm.running_mean.copy_(mean);
    norm.running_var.copy_(var);
    return norm_activation(z, {}, norm, activation, training, groups);
  };
  check_against_operators(compute, {z, norm.scale, norm.shift});
  check_numerically(compute, {z, norm.scale, norm.shift}, 1e-5);

  compute();
  const auto fast_mean = norm.running_mean.clone(), fast_var = norm.running_var.clone();
  {
    const PlainGuard guard;
    compute();
  }
  CHECK_THAT(fast_mean, IsNear(norm.running_mean, 1e-12));
  CHECK_THAT(fast_var, IsNear(norm.running_var, 1e-12));
  for (int64_t s = 0; s < 5; ++s) {
    INFO("scene " << s);
    CHECK(fast_mean[s].equal(mean[s]) == !(training && groups.rows(s) > 1));
    CHECK(fast_var[s].equal(var[s]) == !(training && groups.rows(s) > 1));
  }
}

TEST_CASE("norm_activation: activation and bias without a norm") {
  const std::string activation = GENERATE("relu", "leaky_relu", "tanh", "sigmoid", "identity", "gelu", "silu");
  const bool biased = GENERATE(true, false);
  const auto groups = uneven_groups();
  const auto z = random_leaf({12, 5});
  const auto bias = biased ? random_leaf({5, 5}) : torch::Tensor();
  std::vector<torch::Tensor> leaves = {z};
  if (biased) leaves.push_back(bias);
  const auto compute = [&] { return norm_activation(z, bias, {}, activation, /*training=*/true, groups); };
  check_against_operators(compute, leaves);
  check_numerically(compute, leaves, 1e-5);
}

TEST_CASE("norm_activation: operators do gelu and silu after a norm") {
  const std::string activation = GENERATE("gelu", "silu");
  const auto groups = uneven_groups();
  const auto z = random_leaf({12, 3});
  auto norm = norm_of(3);
  const auto mean = norm.running_mean.clone(), var = norm.running_var.clone();
  const auto compute = [&] {
    norm.running_mean.copy_(mean);
    norm.running_var.copy_(var);
    return norm_activation(z, {}, norm, activation, /*training=*/true, groups);
  };
  check_numerically(compute, {z, norm.scale, norm.shift}, 1e-5);
}

TEST_CASE("norm_activation: a mean far from zero costs no digits") {
  const auto groups = SceneGroups::all(400);
  const auto z = torch::randn({400, 3}, torch::kFloat64);
  const auto one = [&](const torch::Tensor& x) {
    const SceneNorm norm{torch::ones({1, 3}, x.options()), torch::zeros({1, 3}, x.options()),
                         torch::zeros({1, 3}, x.options()), torch::ones({1, 3}, x.options())};
    return norm_activation(x, {}, norm, "identity", /*training=*/true, groups);
  };
  const auto far = (z + 1000).to(torch::kFloat32);
  CHECK_THAT(one(far).to(torch::kFloat64), IsNear(one(far.to(torch::kFloat64)), 1e-3));
}

TEST_CASE("norm_activation: evaluation looks at each row alone") {
  const auto groups = uneven_groups();
  const auto z = torch::randn({12, 4}, torch::kFloat64);
  const auto norm = norm_of(4);
  const auto whole = norm_activation(z, {}, norm, "tanh", /*training=*/false, groups);
  const auto row = norm_activation(z.narrow(0, 8, 1), {}, norm, "tanh", false, SceneGroups{{0, 0, 0, 1, 1, 1}});
  CHECK(row.equal(whole.narrow(0, 8, 1)));
}

TEST_CASE("norm_activation: the bits do not depend on threads") {
  const auto groups = SceneGroups{{0, 1100, 1100, 1101, 2000}};
  const auto z = torch::randn({2000, 9}).requires_grad_();
  const auto scale = torch::randn({4, 9}).requires_grad_(), shift = torch::randn({4, 9}).requires_grad_();
  const auto compute = [&] {
    const SceneNorm norm{scale, shift, torch::zeros({4, 9}), torch::ones({4, 9})};
    return norm_activation(z, {}, norm, "relu", /*training=*/true, groups);
  };
  check_threads(compute, {z, scale, shift});
  const auto bias = torch::randn({4, 9}).requires_grad_();
  check_threads([&] { return norm_activation(z, bias, {}, "tanh", true, groups); }, {z, bias});
}

TEST_CASE("norm_activation: no rows at all leave the statistics") {
  const auto norm = norm_of(3, 2);
  const auto mean = norm.running_mean.clone();
  const auto z = random_leaf({0, 3});
  const auto out = norm_activation(z, {}, norm, "relu", /*training=*/true, SceneGroups{{0, 0, 0}});
  CHECK(out.sizes() == torch::IntArrayRef({0, 3}));
  out.sum().backward();
  CHECK(norm.scale.grad().equal(torch::zeros({2, 3}, torch::kFloat64)));
  CHECK(norm.running_mean.equal(mean));
}

TEST_CASE("norm_activation: second derivatives, wrong shapes and names are refused") {
  const auto groups = uneven_groups();
  const auto z = random_leaf({12, 4});
  const auto norm = norm_of(4);
  check_double_backward([&] { return norm_activation(z, {}, norm, "tanh", true, groups); }, z, "norm_activation");
  CHECK_THROWS_WITH(norm_activation(z.narrow(0, 0, 5), {}, {}, "relu", true, groups),
                    StartsWith("norm_activation: z must be [12, C], got [5, 4]"));
  CHECK_THROWS_WITH(norm_activation(z, torch::zeros({5, 4}, torch::kFloat64), norm, "relu", true, groups),
                    StartsWith("norm_activation: give a bias or a norm, not both"));
  CHECK_THROWS_WITH(norm_activation(z, torch::zeros({5, 3}, torch::kFloat64), {}, "relu", true, groups),
                    StartsWith("norm_activation: bias must be [5, 4], got [5, 3]"));
  CHECK_THROWS_WITH(norm_activation(z, {}, norm_of(3), "relu", true, groups),
                    StartsWith("norm_activation: scale must be [5, 4], got [5, 3]"));
  CHECK_THROWS_WITH(norm_activation(z, {}, norm, "rel", true, groups),
                    StartsWith("activate: activation must be one of relu, gelu, silu, tanh, sigmoid, leaky_relu, "
                               "identity, got 'rel'; did you mean 'relu'?"));
}
