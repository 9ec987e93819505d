#include "polyscene/nn/scene_propagation.h"

#include "grouped.h"

using namespace polyscene::nn;

namespace {

std::shared_ptr<const SparseMatrix> sparse_graph(const torch::Tensor& dense) {
  const auto at = dense.nonzero();
  auto offsets = torch::zeros({dense.size(0) + 1}, torch::kInt64);
  offsets.slice(0, 1).copy_(dense.ne(0).sum(1).cumsum(0));
  return std::make_shared<SparseMatrix>(offsets, at.select(1, 1).to(torch::kInt32),
                                        dense.index({at.select(1, 0), at.select(1, 1)}), dense.size(1));
}

SceneGraph some_graph(int64_t nodes) {
  const auto edges = torch::rand({nodes, nodes}) * torch::rand({nodes, nodes}).lt(0.2);
  const auto shared = torch::arange(0, nodes, 3);
  return {sparse_graph(edges), shared, sparse_graph(torch::rand({shared.numel(), shared.numel()}))};
}

}  // namespace

TEST_CASE("propagate_to: equals its formula, with its gradient") {
  torch::manual_seed(6);
  const auto graph = some_graph(20);
  const Propagation how{GENERATE(0, 1, 2), GENERATE(true, false), 0};
  const auto x = random_leaf({20, 5});
  const auto rows = torch::tensor({3, 0, 19, 3, 7});
  const auto compute = [&] { return propagate_to(graph, how, x, rows, false); };
  check_against_operators(compute, {x});
  check_numerically(compute, {x});
  auto layer = x.detach();
  const auto edges = graph.edges->to_dense().to(torch::kFloat64), exchange = graph.exchange->to_dense();
  const auto all = propagate_all(graph, how, x);
  for (int64_t k = 0; k <= how.layers; ++k) {
    CHECK_THAT(compute().select(1, k).detach(), IsNear(layer.index_select(0, rows), 1e-10, 1e-10));
    CHECK_THAT(all[k], IsNear(layer, 1e-10, 1e-10));
    const auto gathered = edges.mm(layer);
    layer = gathered * (1 + layer) + (how.residual ? layer : torch::zeros_like(layer));
    layer.index_copy_(0, graph.shared, exchange.to(torch::kFloat64).mm(layer.index_select(0, graph.shared)));
  }
}

TEST_CASE("propagate_to: dropout has the right share and the gradient of what it kept") {
  torch::manual_seed(7);
  auto graph = some_graph(40);
  const Propagation how{2, true, 0.3};
  const auto x = random_leaf({40, 30});
  const auto rows = torch::arange(40);
  check_numerically(
      [&] {
        torch::manual_seed(8);
        return propagate_to(graph, how, x, rows, true);
      },
      {x}, 1e-5);
  graph.shared = torch::empty({0}, torch::kInt64);
  graph.exchange = sparse_graph(torch::empty({0, 0}));
  const auto kept = propagate_to(graph, how, x, rows, true).select(1, 1);
  const auto all = propagate_to(graph, how, x, rows, false).select(1, 1);
  const auto dropped = kept.eq(0);
  CHECK(dropped.to(torch::kFloat64).mean().item<double>() == Approx(0.3).margin(0.05));
  CHECK_THAT(kept.masked_select(~dropped), IsNear(all.masked_select(~dropped) / 0.7, 1e-10, 1e-10));
}

TEST_CASE("propagate_to: the bits do not depend on threads, second derivatives and wrong shapes are refused") {
  torch::manual_seed(9);
  const auto graph = some_graph(300);
  const auto x = torch::randn({300, 64}).requires_grad_();
  const auto rows = torch::randint(300, {64});
  const auto compute = [&] {
    torch::manual_seed(10);
    return propagate_to(graph, {2, true, 0.3}, x * 0.01, rows, true);
  };
  check_threads(compute, {x});
  const auto small = some_graph(6);
  const auto leaf = random_leaf({6, 2});
  check_double_backward([&] { return propagate_to(small, {}, leaf, torch::arange(6), false); }, leaf, "propagate_to");
  CHECK_THROWS_WITH(propagate_to(small, {}, torch::ones({5, 2}), torch::arange(2), false),
                    StartsWith("propagate_to: x must be [6, D], got [5, 2]"));
  CHECK_THROWS_WITH(propagate_to(small, {2, true, 1}, leaf, torch::arange(2), false),
                    StartsWith("propagate_to: layers must be 0 or more and dropout in [0, 1), got 2 and 1"));
}
