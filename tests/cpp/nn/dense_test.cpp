#include "polyscene/nn/dense.h"

#include "catch.h"

namespace polyscene::nn {
namespace {

TEST_CASE("A dense layer, its gradients and theirs equal torch's linear layer") {
  torch::manual_seed(0);
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    for (const bool bias : {true, false}) {
      torch::nn::Linear layer(torch::nn::LinearOptions(7, 5).bias(bias));
      layer->to(type);
      for (const auto& x : {torch::randn({7}, type), torch::randn({0, 7}, type), torch::randn({9, 7}, type),
                            torch::randn({3, 7, 4}, type).transpose(1, 2)}) {
        std::vector<torch::Tensor> found, expected;
        for (auto* const out : {&found, &expected}) {
          const auto given = x.detach().clone(torch::MemoryFormat::Preserve).requires_grad_();
          auto wanted = layer->parameters();
          wanted.push_back(given);
          const auto y = out == &found ? dense(given, *layer) : layer->forward(given);
          const auto once = torch::autograd::grad({y.square().sum()}, wanted, {}, true, /*create_graph=*/true);
          auto sum = torch::zeros({}, type);
          for (const auto& each : once) sum = sum + each.square().sum();
          const auto twice = torch::autograd::grad({sum}, wanted, {}, false, false, /*allow_unused=*/true);
          *out = {y};
          out->insert(out->end(), once.begin(), once.end());
          out->insert(out->end(), twice.begin(), twice.end());
        }
        REQUIRE(found.size() == expected.size());
        const double tolerance = type == torch::kFloat32 ? 1e-3 : 1e-10;
        for (size_t k = 0; k < found.size(); ++k) {
          REQUIRE(found[k].sizes() == expected[k].sizes());
          CHECK(torch::allclose(found[k], expected[k], tolerance, tolerance));
        }
      }
    }
  }
}

TEST_CASE("A dense layer refuses another width, and follows autocast") {
  torch::nn::Linear layer(7, 5);
  CHECK_THROWS_WITH(dense(torch::randn({3, 6}), *layer), StartsWith("dense: x must be [B, I] and weight [O, I], got"));
  at::autocast::set_autocast_enabled(at::kCPU, true);
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  const auto type = dense(torch::randn({3, 7}), *layer).scalar_type();
  at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(at::kCPU, false);
  CHECK(type == torch::kBFloat16);
}

}  // namespace
}  // namespace polyscene::nn
