#include "polyscene/nn/dice_mlp.h"

#include "catch.h"

using namespace polyscene::nn;
using Widths = std::vector<int64_t>;

TEST_CASE("Dice: by hand") {
  Dice dice(1);
  {
    const torch::NoGradGuard no_grad;
    dice->alpha.fill_(0.5);
  }
  const auto x = torch::tensor({{-1.f}, {3.f}});  // mean 1, variance 4
  const auto p = torch::sigmoid(torch::tensor({{-1.f}, {1.f}}));
  CHECK_THAT(dice->forward(x), IsNear(p * x + (1 - p) * 0.5 * x, 1e-6));
  CHECK(dice->running_mean.item<float>() == Approx(0.1));
  CHECK(dice->running_var.item<float>() == Approx(0.9 + 0.1 * 8));
  dice->eval();
  const auto q = torch::sigmoid((x - 0.1) / std::sqrt(1.7));
  CHECK_THAT(dice->forward(x), IsNear(q * x + (1 - q) * 0.5 * x, 1e-6));
}

TEST_CASE("Dice: one row and none leave the statistics") {
  Dice dice(3);
  CHECK(dice->forward(torch::ones({1, 3})).isfinite().all().item<bool>());
  CHECK(dice->forward(torch::ones({0, 3})).sizes() == torch::IntArrayRef({0, 3}));
  CHECK_THAT(dice->running_mean, IsNear(torch::zeros({3})));
}

TEST_CASE("DiceMLP: one number a row; what is refused") {
  DiceMLP mlp(4, Widths{5, 3}, "dice", 0.5);
  CHECK(mlp->forward(torch::randn({6, 4})).sizes() == torch::IntArrayRef({6}));
  CHECK(mlp->dices->size() == 2);
  CHECK(DiceMLP(4, Widths{5}, "relu")->dices->size() == 0);
  CHECK_THROWS_WITH(mlp->forward(torch::randn({6, 3})), StartsWith("DiceMLP: x must be [..., 4], got [6, 3]"));
  CHECK_THROWS_WITH(DiceMLP(4, Widths{0}, "dice"), StartsWith("DiceMLP: hidden must be positive, got 0"));
  CHECK_THROWS_WITH(DiceMLP(4, Widths{2}, "swish"), StartsWith("DiceMLP: activation must be one of"));
}
