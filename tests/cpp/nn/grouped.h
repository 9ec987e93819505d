#pragma once

#include <functional>
#include <vector>

#include "catch.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/scene_groups.h"

/// A scene of many rows, an empty one, a scene of one row, three rows, an empty one at the end: 12 rows.
inline polyscene::nn::SceneGroups uneven_groups() { return {{0, 8, 8, 9, 12, 12}}; }

/// Standard normal float64 that takes gradients.
inline torch::Tensor random_leaf(torch::IntArrayRef shape) {
  return torch::randn(shape, torch::kFloat64).requires_grad_();
}

/// Results and gradients of one call on the same leaves.
struct Called {
  torch::Tensor out;
  std::vector<torch::Tensor> grads;
};

inline Called call(const std::function<torch::Tensor()>& compute, const std::vector<torch::Tensor>& leaves) {
  Called result;
  result.out = compute();
  const auto count = result.out.numel();
  const auto seen = torch::linspace(-1, 2, count, result.out.options().requires_grad(false)).view(result.out.sizes());
  result.grads = torch::autograd::grad({(result.out * seen).sum()}, leaves, {}, /*retain_graph=*/std::nullopt,
                                       /*create_graph=*/false, /*allow_unused=*/false);
  result.out = result.out.detach();
  return result;
}

/// The raw loops against operators that autograd knows: values and all gradients.
inline void check_against_operators(const std::function<torch::Tensor()>& compute,
                                    const std::vector<torch::Tensor>& leaves, double tolerance = 1e-10) {
  const auto fast = call(compute, leaves);
  Called slow;
  {
    const polyscene::nn::PlainGuard guard;
    slow = call(compute, leaves);
  }
  CHECK_THAT(fast.out, IsNear(slow.out, tolerance, tolerance));
  for (size_t i = 0; i < leaves.size(); ++i) {
    INFO("gradient by input " << i);
    CHECK_THAT(fast.grads[i], IsNear(slow.grads[i], tolerance, tolerance));
    CHECK(fast.grads[i].abs().max().item<double>() > 0);
  }
}

/// Gradients against central differences along a random direction through all inputs at once.
inline void check_numerically(const std::function<torch::Tensor()>& compute, const std::vector<torch::Tensor>& leaves,
                              double tolerance = 1e-6) {
  const auto analytic = call(compute, leaves);
  for (int trial = 0; trial < 3; ++trial) {
    std::vector<torch::Tensor> direction;
    double expected = 0;
    for (size_t i = 0; i < leaves.size(); ++i) {
      direction.push_back(torch::randn_like(leaves[i]));
      expected += (direction[i] * analytic.grads[i]).sum().item<double>();
    }
    const double step = 1e-6;
    const auto moved = [&](double by) {
      const torch::NoGradGuard no_grad;
      for (size_t i = 0; i < leaves.size(); ++i) leaves[i].add_(direction[i], by);
      const auto out = compute();
      for (size_t i = 0; i < leaves.size(); ++i) leaves[i].sub_(direction[i], by);
      return (out * torch::linspace(-1, 2, out.numel(), out.options()).view(out.sizes())).sum().item<double>();
    };
    const double found = (moved(step) - moved(-step)) / (2 * step);
    CHECK(found == Approx(expected).epsilon(tolerance).margin(tolerance));
  }
}

/// The same bits, forward and backward, with one thread and with several.
inline void check_threads(const std::function<torch::Tensor()>& compute, const std::vector<torch::Tensor>& leaves) {
  const auto before = torch::get_num_threads();
  torch::set_num_threads(1);
  const auto one = call(compute, leaves);
  torch::set_num_threads(4);
  const auto four = call(compute, leaves);
  torch::set_num_threads(before);
  CHECK(one.out.equal(four.out));
  for (size_t i = 0; i < leaves.size(); ++i) {
    INFO("gradient by input " << i);
    CHECK(one.grads[i].equal(four.grads[i]));
  }
}

/// Raw loops refuse a second derivative by name; operators give it.
inline void check_double_backward(const std::function<torch::Tensor()>& compute, const torch::Tensor& leaf,
                                  const std::string& owner) {
  const auto twice = [&] {
    const auto first = torch::autograd::grad({compute().square().sum()}, {leaf}, {}, std::nullopt,
                                             /*create_graph=*/true)[0];
    return torch::autograd::grad({first.square().sum()}, {leaf})[0];
  };
  CHECK_THROWS_WITH(twice(), StartsWith(owner + ": derivatives of higher order need a forward under PlainGuard"));
  const polyscene::nn::PlainGuard guard;
  CHECK(twice().abs().max().item<double>() > 0);
}
