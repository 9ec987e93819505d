#include "polyscene/nn/ragged_attention.h"

#include "catch.h"
#include "polyscene/nn/plain.h"

using namespace polyscene;

TEST_CASE("ragged_attention: loops equal operators, forward and backward") {
  torch::manual_seed(1);
  const auto offsets = torch::tensor({0, 5, 5, 6, 29}, torch::kInt64);
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    for (const bool causal : {true, false}) {
      auto q = torch::randn({29, 6}, type).requires_grad_(), kv = torch::randn({29, 12}, type).requires_grad_();
      const auto seed = torch::randn({29, 6}, type);
      const auto fast = nn::ragged_attention(q, kv, offsets, 2, causal);
      const auto fast_grad = torch::autograd::grad({fast}, {q, kv}, {seed});
      const nn::PlainGuard slowly;
      const auto slow = nn::ragged_attention(q, kv, offsets, 2, causal);
      const auto slow_grad = torch::autograd::grad({slow}, {q, kv}, {seed});
      const double near = type == torch::kFloat32 ? 1e-5 : 1e-12;
      CHECK_THAT(fast, IsNear(slow, near));
      for (int i = 0; i < 2; ++i) CHECK_THAT(fast_grad[i], IsNear(slow_grad[i], near));
    }
  }
}

TEST_CASE("ragged_attention: shapes that do not fit are refused") {
  const auto offsets = torch::tensor({0, 3}, torch::kInt64);
  CHECK_THROWS_WITH(nn::ragged_attention(torch::zeros({3, 5}), torch::zeros({3, 10}), offsets, 2, true),
                    ContainsSubstring("ragged_attention: q must be [L, D] with D a multiple of 2 heads, got [3, 5]"));
  CHECK_THROWS_WITH(nn::ragged_attention(torch::zeros({3, 4}), torch::zeros({3, 4}), offsets, 2, true),
                    ContainsSubstring("ragged_attention: kv must be [3, 8], got [3, 4]"));
  CHECK_THROWS_WITH(nn::ragged_attention(torch::zeros({4, 4}), torch::zeros({4, 8}), offsets, 2, true),
                    ContainsSubstring("ragged_attention: offsets must end at 4, the number of events"));
}
