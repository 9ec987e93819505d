#include "polyscene/nn/multi_head_attention.h"

#include <cmath>

#include "catch.h"
#include "polyscene/nn/masks.h"

using namespace polyscene::nn;

namespace {

MultiHeadAttention make_attention(int64_t size, MultiHeadAttentionOptions options = {}) {
  MultiHeadAttention module(size, options);
  module->to(torch::kFloat64);
  return module;
}

}  // namespace

TEST_CASE("MultiHeadAttention: one head with identity projections, by hand") {
  auto module = make_attention(2, MultiHeadAttentionOptions().heads(1).bias(false));
  torch::NoGradGuard no_grad;
  for (auto& parameter : module->parameters()) {
    parameter.copy_(torch::eye(2));
  }
  const auto q = torch::tensor({1.0, 0.0}, torch::kFloat64).view({1, 1, 2});
  const auto k = torch::tensor({std::sqrt(2.0), 0.0, 0.0, 7.0}, torch::kFloat64).view({1, 2, 2});
  // scores (1, 0): weights e / (e + 1), 1 / (e + 1)
  const auto out = module->attend(q, k, k);
  const auto a = 0.7310585786300049;
  CHECK_THAT(out.weights.flatten(), IsNear(torch::tensor({a, 1 - a}, torch::kFloat64), 1e-12));
  CHECK_THAT(out.output.flatten(), IsNear(torch::tensor({a * std::sqrt(2.0), (1 - a) * 7}, torch::kFloat64), 1e-12));
}

TEST_CASE("MultiHeadAttention: scale hidden divides the scores once more by sqrt(heads)") {
  auto head = make_attention(8, MultiHeadAttentionOptions().heads(4));
  auto hidden = make_attention(8, MultiHeadAttentionOptions().heads(4).scale("hidden"));
  torch::NoGradGuard no_grad;
  for (const auto& item : head->named_parameters()) {
    hidden->named_parameters()[item.key()].copy_(item.value());
  }
  hidden->query_projection->weight.mul_(2);
  hidden->query_projection->bias.mul_(2);
  const auto x = random_doubles({2, 3, 8});
  CHECK_THAT(hidden->attend(x, x, x).weights, IsNear(head->attend(x, x, x).weights, 1e-12));
}

TEST_CASE("MultiHeadAttention: forward equals attend under every mask") {
  const auto x = random_doubles({3, 5, 8});
  const auto valid = padding_mask(torch::tensor({5, 2, 0}), 5);
  const auto mask = torch::rand({3, 5, 5}) > 0.4;
  const auto added = random_doubles({5, 5}).masked_fill(torch::rand({5, 5}) > 0.7, -INFINITY);
  for (const bool causal : {false, true}) {
    auto module = make_attention(8, MultiHeadAttentionOptions().heads(2).causal(causal));
    for (const auto& v : {std::optional<torch::Tensor>(), std::optional(valid)}) {
      for (const auto& m : {std::optional<torch::Tensor>(), std::optional(mask), std::optional(added)}) {
        const auto out = module->attend(x, x, x, v, m);
        CHECK_THAT(module->forward(x, x, x, v, m), IsNear(out.output, 1e-12));
        CHECK(out.weights.sizes() == torch::IntArrayRef({3, 2, 5, 5}));
        const auto total = out.weights.sum(-1);
        CHECK(((total - 1).abs().lt(1e-12) | total.eq(0)).all().item<bool>());
      }
    }
  }
}

TEST_CASE("MultiHeadAttention: a causal step does not see what follows") {
  auto module = make_attention(4, MultiHeadAttentionOptions().causal(true));
  const auto x = random_doubles({1, 4, 4});
  const auto y = torch::cat({x.slice(1, 0, 2), random_doubles({1, 2, 4})}, 1);
  const auto a = module->forward(x, x, x);
  const auto b = module->forward(y, y, y);
  CHECK_THAT(b.slice(1, 0, 2), IsNear(a.slice(1, 0, 2), 1e-12));
  CHECK_THAT(b.slice(1, 2), !IsNear(a.slice(1, 2), 1e-3));
}

TEST_CASE("MultiHeadAttention: padded keys are not read, not even NaN, and take no gradient") {
  auto module = make_attention(4);
  const auto valid = padding_mask(torch::tensor({2, 0}), 3);
  const auto q = random_doubles({2, 3, 4});
  const auto x = random_doubles({2, 3, 4});
  const auto y = x.masked_fill(~valid.unsqueeze(-1), NAN).requires_grad_();
  CHECK_THAT(module->forward(q, y, y, valid), IsNear(module->forward(q, x, x, valid), 1e-12));
  module->forward(q, y, y, valid).sum().backward();
  CHECK(torch::isfinite(y.grad()).all().item<bool>());
  for (const auto& parameter : module->parameters()) {
    CHECK(torch::isfinite(parameter.grad()).all().item<bool>());
  }
  // Nothing to attend to: weights 0, the output is the bias alone.
  const auto out = module->attend(q, y, y, valid);
  CHECK(out.weights[1].abs().max().item<double>() == 0);
  CHECK_THAT(out.output[1], IsNear(module->output_projection->bias.expand({3, 4}), 1e-12));
}

TEST_CASE("MultiHeadAttention: keys may be wider, hidden another width, dropout leaves the weights alone") {
  auto module = make_attention(4, MultiHeadAttentionOptions().heads(3).hidden(6).key_size(5).dropout(0.5));
  const auto q = random_doubles({2, 3, 4});
  const auto k = random_doubles({2, 7, 5});
  const auto out = module->attend(q, k, k);
  CHECK(out.output.sizes() == torch::IntArrayRef({2, 3, 4}));
  CHECK_THAT(out.weights.sum(-1), IsNear(torch::ones({2, 3, 3}, torch::kFloat64), 1e-12));
  CHECK_THAT(module->forward(q, k, k), !IsNear(module->forward(q, k, k), 1e-6));
  module->eval();
  CHECK_THAT(module->forward(q, k, k), IsNear(module->attend(q, k, k).output, 1e-12));
}

TEST_CASE("MultiHeadAttention: exact words for wrong options and shapes") {
  using O = MultiHeadAttentionOptions;
  CHECK_THROWS_WITH(MultiHeadAttention(6, O().heads(4)),
                    StartsWith("MultiHeadAttention: heads must divide the hidden width, got 4 heads and width 6"));
  CHECK_THROWS_WITH(MultiHeadAttention(6, O().heads(0)),
                    StartsWith("MultiHeadAttention: heads must be positive, got 0"));
  CHECK_THROWS_WITH(MultiHeadAttention(6, O().scale("none")),
                    StartsWith("MultiHeadAttention: scale must be head or hidden, got 'none'"));
  CHECK_THROWS_WITH(MultiHeadAttention(6, O().dropout(1)),
                    StartsWith("MultiHeadAttention: dropout must be in [0, 1), got 1"));
  auto module = make_attention(4, O().causal(true));
  const auto x = random_doubles({2, 3, 4});
  CHECK_THROWS_WITH(module->forward(random_doubles({2, 2, 4}), x, x),
                    StartsWith("MultiHeadAttention: causal attention needs as many queries as keys, got 2 and 3"));
  CHECK_THROWS_WITH(module->forward(x, x, random_doubles({2, 2, 4})),
                    StartsWith("MultiHeadAttention: value must have the shape of key, [2, 3, 4], got [2, 2, 4]"));
  CHECK_THROWS_WITH(module->forward(x, x, x, torch::ones({3, 2}).to(torch::kBool)),
                    StartsWith("MultiHeadAttention: valid must be bool [2, 3], got Bool [3, 2]"));
  CHECK_THROWS_WITH(module->forward(x, x, x, {}, torch::ones({2, 3})),
                    StartsWith("MultiHeadAttention: mask must be [3, 3] or [2, 3, 3], got [2, 3]"));
  CHECK_THROWS_WITH(module->forward(x, x, x, {}, torch::ones({3, 3}, torch::kLong)),
                    StartsWith("MultiHeadAttention: mask must be bool or floating, got Long"));
}
