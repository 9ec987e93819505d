#include "polyscene/nn/softmax_loss.h"

#include "catch.h"

using namespace polyscene;

TEST_CASE("softmax_loss: equals the logits' cross-entropy, forward and backward") {
  torch::manual_seed(1);
  for (const int64_t classes : {1, 7, 37}) {
    auto x = torch::randn({50, 3}, torch::kFloat64).requires_grad_();
    auto w = torch::randn({classes, 3}, torch::kFloat64).requires_grad_();
    const auto target = torch::randint(classes, {50}, torch::kInt64);
    const auto own = nn::softmax_loss(x, w, target) * 0.5;
    const auto expected = torch::cross_entropy_loss(x.mm(w.t()), target, {}, at::Reduction::Sum) * 0.5;
    CHECK_THAT(own, IsNear(expected, 1e-10));
    const auto a = torch::autograd::grad({own}, {x, w}), b = torch::autograd::grad({expected}, {x, w});
    for (int i = 0; i < 2; ++i) CHECK_THAT(a[i], IsNear(b[i], 1e-10));
  }
}

TEST_CASE("softmax_loss: large logits stay finite, no row has loss 0") {
  const auto x = torch::full({2, 1}, 1000.), w = torch::tensor({{1.}, {-1.}});
  CHECK(nn::softmax_loss(x, w, torch::zeros({2}, torch::kInt64)).item<double>() == Approx(0));
  CHECK(nn::softmax_loss(x, w, torch::ones({2}, torch::kInt64)).item<double>() == Approx(4000));
  CHECK(nn::softmax_loss(x.slice(0, 0, 0), w, torch::zeros({0}, torch::kInt64)).item<double>() == 0);
}

TEST_CASE("softmax_loss: a target that is none is refused") {
  CHECK_THROWS_WITH(nn::softmax_loss(torch::zeros({1, 2}), torch::zeros({3, 2}), torch::full({1}, 3, torch::kInt64)),
                    ContainsSubstring("softmax_loss: target must be in [0, 3), got 3 to 3"));
}
