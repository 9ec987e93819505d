#include "polyscene/nn/layer_norm_activation.h"

#include "grouped.h"

using namespace polyscene::nn;

TEST_CASE("layer_norm_activation: raw loops equal operators, with their gradients") {
  const std::string activation = GENERATE("identity", "relu", "leaky_relu", "tanh", "sigmoid");
  const int64_t width = GENERATE(2, 5, 16, 37);
  const auto groups = uneven_groups();
  const auto z = random_leaf({12, 2, width}), scale = random_leaf({5, 2, width}), shift = random_leaf({5, 2, width});
  const auto compute = [&] { return layer_norm_activation(z, scale, shift, activation, groups); };
  check_against_operators(compute, {z, scale, shift});
  if (width == 5 && activation != "relu" && activation != "leaky_relu") check_numerically(compute, {z, scale, shift});
}

TEST_CASE("layer_norm_activation: by hand, and far from zero") {
  const auto groups = SceneGroups{{0, 1, 1, 2}};
  const auto z = torch::tensor({1.0, 3.0, 1001.0, 1003.0}, torch::kFloat64).view({2, 1, 2});
  const auto scale = torch::tensor({2.0, 2.0, 9.0, 9.0, 1.0, 1.0}, torch::kFloat64).view({3, 1, 2});
  const auto shift = torch::tensor({1.0, 1.0, 9.0, 9.0, 0.0, 0.0}, torch::kFloat64).view({3, 1, 2});
  const auto out = layer_norm_activation(z, scale, shift, "identity", groups, /*eps=*/0);
  CHECK_THAT(out.flatten(), IsNear(torch::tensor({-1.0, 3.0, -1.0, 1.0}, torch::kFloat64), 1e-9));
}

TEST_CASE("layer_norm_activation: threads, second derivatives, other activations, wrong shapes") {
  const auto groups = SceneGroups{{0, 700, 700, 1500}};
  const auto z = random_leaf({1500, 2, 8}), scale = random_leaf({3, 2, 8}), shift = random_leaf({3, 2, 8});
  const auto compute = [&] { return layer_norm_activation(z, scale, shift, "relu", groups); };
  check_threads(compute, {z, scale, shift});
  check_double_backward(compute, z, "layer_norm_activation");
  CHECK(layer_norm_activation(z, scale, shift, "gelu", groups).sizes() == z.sizes());
  CHECK_THROWS_WITH(layer_norm_activation(z.flatten(1), scale, shift, "relu", groups),
                    StartsWith("layer_norm_activation: z must be [1500, E, O], got [1500, 16]"));
  CHECK_THROWS_WITH(layer_norm_activation(z, scale[0], shift, "relu", groups),
                    StartsWith("layer_norm_activation: scale must be [3, 2, 8], got [2, 8]"));
}
