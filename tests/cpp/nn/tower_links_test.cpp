#include "polyscene/nn/tower_links.h"

#include <functional>
#include <memory>
#include <vector>

#include "catch.h"
#include "polyscene/nn/plain.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

// Results and gradients of one way, with raw loops or without.
template <typename Call>
std::vector<Tensor> outcome(const Call& call, const std::vector<Tensor>& wanted, bool raw) {
  std::unique_ptr<PlainGuard> guard(raw ? nullptr : new PlainGuard);
  std::vector<Tensor> out = call();
  Tensor sum = torch::zeros({}, out[0].options());
  for (size_t i = 0; i < out.size(); ++i) sum = sum + (out[i] * static_cast<double>(i + 1)).sin().sum();
  const auto slopes = torch::autograd::grad({sum}, wanted);
  out.insert(out.end(), slopes.begin(), slopes.end());
  return out;
}

TEST_CASE("Linked towers and their gradients equal plain operators") {
  torch::manual_seed(0);
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    for (const int64_t towers : {1, 2, 3}) {
      const int64_t users = 4, each = 2, width = 5;
      const auto random = [&](at::IntArrayRef shape) { return torch::randn(shape, type).requires_grad_(); };
      const auto base = random({users, towers, width}), x = random({users * each, width}),
                 y = random({users * each, width}), z = random({users * each, towers, width});
      const auto part = torch::rand({users, towers}).gt(0.3).to(type), share = torch::rand({users, towers}, type);
      const std::vector<std::function<std::vector<Tensor>()>> calls = {
          [&] { return std::vector<Tensor>{linked_input(base, part, share, x, y)}; },
          [&] { return std::vector<Tensor>{linked(z, part, share)}; }};
      const std::vector<std::vector<Tensor>> inputs = {{base, x, y}, {z}};
      for (size_t c = 0; c < calls.size(); ++c) {
        const auto found = outcome(calls[c], inputs[c], true), expected = outcome(calls[c], inputs[c], false);
        const double tolerance = type == torch::kFloat32 ? 1e-5 : 1e-12;
        for (size_t i = 0; i < found.size(); ++i) {
          CHECK(torch::allclose(found[i], expected[i], tolerance, tolerance));
        }
      }
    }
  }
}

TEST_CASE("Linked towers send what the others hold") {
  const auto z = torch::tensor({{{1.f}, {-2.f}, {4.f}}});
  const auto found = linked(z, torch::tensor({{1.f, 1.f, 0.f}}), torch::tensor({{0.5f, 2.f, 1.f}}));
  CHECK(torch::equal(found, torch::tensor({{{1.f, 0.f}, {0.f, 2.f}, {0.f, 1.f}}})));
}

TEST_CASE("Linked towers take no rows, and refuse what does not fit") {
  const auto none = torch::empty({0, 2});
  CHECK(linked(torch::empty({0, 2, 3}), none, none).sizes() == at::IntArrayRef({0, 2, 6}));
  CHECK_THROWS_WITH(linked(torch::empty({3, 2, 3}), torch::empty({2, 2}), torch::empty({2, 2})),
                    StartsWith("linked: z must be [A K, S, H], part and share [A, S], got"));
  CHECK_THROWS_WITH(linked_input(torch::empty({2, 2, 3}), torch::empty({2, 2}), torch::empty({2, 2}),
                                 torch::empty({4, 3}), torch::empty({2, 3})),
                    StartsWith("linked_input: base must be [A, S, H]"));
}

}  // namespace
}  // namespace polyscene::nn
