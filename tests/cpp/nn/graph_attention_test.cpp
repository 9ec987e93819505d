#include "polyscene/nn/graph_attention.h"

#include "grouped.h"

using namespace polyscene::nn;

namespace {

/// Row 2 has no edges, column 3 none either; row 1 gathers itself alone.
std::shared_ptr<const Edges> some_edges() {
  const auto offsets = torch::tensor({0, 3, 4, 4, 6, 8}), columns = torch::tensor({0, 1, 4, 1, 0, 2, 4, 1});
  return std::make_shared<Edges>(SparseMatrix(offsets, columns.to(torch::kInt32), torch::ones({8}), 5));
}

/// The same with a dense mask, [5, 5, H].
torch::Tensor dense(const torch::Tensor& x, const torch::Tensor& to, const torch::Tensor& from) {
  auto mask = torch::zeros({5, 5}, torch::kBool);
  const auto edges = some_edges();
  const auto row = torch::arange(5).repeat_interleave(edges->offsets.diff());
  mask.index_put_({row, edges->columns.to(torch::kInt64)}, true);
  const auto z = torch::leaky_relu(to.unsqueeze(1) + from.unsqueeze(0), 0.2);
  const auto e = torch::exp(z) * mask.unsqueeze(2);
  const auto share = e / e.sum(1, true).clamp_min(1e-30);
  return torch::einsum("ijh,jhc->ihc", {share, x});
}

}  // namespace

TEST_CASE("graph_attention: equals a dense softmax, with its gradients") {
  torch::manual_seed(11);
  const auto x = random_leaf({5, 2, 3}), to = random_leaf({5, 2}), from = random_leaf({5, 2});
  const auto edges = some_edges();
  const auto compute = [&] { return graph_attention(edges, x, to, from, 0.2, 0.5, false); };
  const auto fast = call(compute, {x, to, from}), slow = call([&] { return dense(x, to, from); }, {x, to, from});
  CHECK_THAT(fast.out, IsNear(slow.out, 1e-12));
  for (size_t i = 0; i < 3; ++i) CHECK_THAT(fast.grads[i], IsNear(slow.grads[i], 1e-10));
  CHECK(fast.out[2].eq(0).all().item<bool>());
  check_numerically(compute, {x, to, from});
  check_numerically(
      [&] {
        torch::manual_seed(12);
        return graph_attention(edges, x, to, from, 0.2, 0.4, true);
      },
      {x, to, from});
}

TEST_CASE("graph_attention: threads change no bit, large numbers do not overflow, wrong input is refused") {
  torch::manual_seed(13);
  const auto matrix = torch::rand({400, 400}).lt(0.02);
  auto offsets = torch::zeros({401}, torch::kInt64);
  offsets.slice(0, 1).copy_(matrix.sum(1).cumsum(0));
  const auto columns = matrix.nonzero().select(1, 1).to(torch::kInt32);
  const auto edges = std::make_shared<Edges>(SparseMatrix(offsets, columns, torch::ones({columns.numel()}), 400));
  const auto x = torch::randn({400, 4, 16}).requires_grad_(), to = torch::randn({400, 4}).requires_grad_(),
             from = (torch::randn({400, 4}) * 300).requires_grad_();
  const auto compute = [&] {
    torch::manual_seed(14);
    return graph_attention(edges, x, to, from, 0.2, 0.1, true);
  };
  CHECK(compute().isfinite().all().item<bool>());
  check_threads(compute, {x, to, from});
  CHECK_THROWS_WITH(graph_attention(edges, x[0], to, from, 0.2, 0, false),
                    StartsWith("graph_attention: x must be [400, H, C], got [4, 16]"));
  CHECK_THROWS_WITH(graph_attention(edges, x, to.t(), from, 0.2, 0, false),
                    StartsWith("graph_attention: to and from must be [400, 4], got [4, 400]"));
  CHECK_THROWS_AS(graph_attention(edges, x, to.to(torch::kFloat64), from, 0.2, 0, false), c10::TypeError);
  CHECK_THROWS_AS(graph_attention(edges, x, to, from, 0.2, 1, false), c10::ValueError);
  CHECK_THROWS_AS(Edges(SparseMatrix(torch::zeros({2}, torch::kInt64), columns.slice(0, 0, 0), torch::ones({0}), 3)),
                  c10::ValueError);
}
