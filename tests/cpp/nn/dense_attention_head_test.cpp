#include "polyscene/nn/dense_attention_head.h"

#include <cmath>

#include "catch.h"

using namespace polyscene::nn;

TEST_CASE("DenseAttentionHead: two units by hand") {
  DenseAttentionHead head(1, DenseAttentionHeadOptions().hidden(2));
  torch::NoGradGuard no_grad;
  head->dense->weight.copy_(torch::tensor({{1.F}, {-1.F}}));
  head->dense->bias.copy_(torch::tensor({1.F, 1.F}));
  head->attention->gate->weight.copy_(torch::tensor({{1.F, 0.F}, {0.F, 1.F}}));
  head->output->weight.copy_(torch::tensor({{1.F, 10.F, 100.F, 1000.F}}));
  head->output->bias.fill_(-1);
  // d = relu(2 + 1, -2 + 1) = (3, 0), softmax(3, 0) = (a, 1 - a), logits 3 + 100 * 3 a - 1
  const auto out = head->attend(torch::tensor({{2.F}}));
  const auto a = 1 / (1 + std::exp(-3.0));
  CHECK(out.output.item<float>() == Approx(2 + 300 * a));
  CHECK_THAT(out.weights, IsNear(torch::tensor({{a, 1 - a}}).to(torch::kFloat32)));
}

TEST_CASE("DenseAttentionHead: without attention the head sees the dense layer alone") {
  DenseAttentionHead head(3, DenseAttentionHeadOptions().hidden(4).outputs(2).attention(false));
  CHECK(head->output->weight.sizes() == torch::IntArrayRef({2, 4}));
  const auto x = torch::randn({5, 3});
  const auto out = head->attend(x);
  CHECK_THAT(out.output, IsNear(head->output->forward(head->dense->forward(x).relu())));
  CHECK_THAT(out.weights, IsNear(torch::full({5, 4}, 0.25)));
  CHECK(DenseAttentionHead(3)->output->weight.sizes() == torch::IntArrayRef({1, 128}));
  CHECK(head->forward(torch::randn({0, 3})).sizes() == torch::IntArrayRef({0, 2}));
}

TEST_CASE("DenseAttentionHead: exact words for wrong options") {
  CHECK_THROWS_WITH(DenseAttentionHead(3, DenseAttentionHeadOptions().outputs(0)),
                    StartsWith("DenseAttentionHead: outputs must be positive, got 0"));
  CHECK_THROWS_WITH(DenseAttentionHead(3)->forward(torch::ones({2, 4})),
                    StartsWith("DenseAttentionHead: x must be [..., 3], got [2, 4]"));
}
