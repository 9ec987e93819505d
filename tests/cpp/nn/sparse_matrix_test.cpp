#include "polyscene/nn/sparse_matrix.h"

#include "grouped.h"

using namespace polyscene::nn;

namespace {

/// About a third of the entries, the first, a middle and the last row empty, and column 1.
torch::Tensor dense_matrix(int64_t rows, int64_t columns) {
  auto out = torch::randn({rows, columns}) * torch::rand({rows, columns}).lt(0.35);
  for (const auto r : {int64_t{0}, rows / 2, rows - 1}) out[r].zero_();
  out.select(1, 1).zero_();
  return out;
}

std::shared_ptr<const SparseMatrix> sparse(const torch::Tensor& dense) {
  const auto at = dense.nonzero();
  auto offsets = torch::zeros({dense.size(0) + 1}, torch::kInt64);
  offsets.slice(0, 1).copy_(dense.ne(0).sum(1).cumsum(0));
  return std::make_shared<SparseMatrix>(offsets, at.select(1, 1).to(torch::kInt32),
                                        dense.index({at.select(1, 0), at.select(1, 1)}), dense.size(1));
}

}  // namespace

TEST_CASE("SparseMatrix: products equal those of the dense matrix") {
  torch::manual_seed(3);
  const int64_t width = GENERATE(1, 7, 64);
  const auto dense = dense_matrix(150, 70);
  const auto matrix = sparse(dense);
  CHECK(matrix->rows() == 150);
  CHECK(matrix->columns() == 70);
  CHECK(matrix->entries() == dense.ne(0).sum().item<int64_t>());
  CHECK(torch::equal(matrix->to_dense(), dense));
  const auto x = torch::randn({70, width}), back = torch::randn({150, width});
  CHECK_THAT(matrix->times(x), IsNear(dense.mm(x), 1e-5));
  CHECK_THAT(matrix->transposed_times(back), IsNear(dense.t().mm(back), 1e-5));
  CHECK_THAT(matrix->times(x.to(torch::kFloat64)), IsNear(dense.to(torch::kFloat64).mm(x.to(torch::kFloat64)), 1e-12));
  CHECK(matrix->times(x)[0].eq(0).all().item<bool>());
  CHECK(matrix->transposed_times(back)[1].eq(0).all().item<bool>());
  const auto strided = torch::randn({width, 70}).t();
  CHECK_THAT(matrix->times(strided), IsNear(dense.mm(strided), 1e-5));
}

TEST_CASE("sparse_product: its gradients equal those of the dense product, also the second ones") {
  torch::manual_seed(4);
  const auto dense = dense_matrix(90, 40).to(torch::kFloat64);
  const auto matrix = sparse(dense.to(torch::kFloat32));
  const auto exact = matrix->to_dense().to(torch::kFloat64);
  const auto x = random_leaf({40, 5});
  const auto compute = [&] { return sparse_product(matrix, x); };
  const auto fast = call(compute, {x}), slow = call([&] { return exact.mm(x); }, {x});
  CHECK_THAT(fast.out, IsNear(slow.out, 1e-12));
  CHECK_THAT(fast.grads[0], IsNear(slow.grads[0], 1e-12));
  CHECK(fast.grads[0].abs().max().item<double>() > 0);
  check_numerically(compute, {x});
  const auto second = [&](const std::function<torch::Tensor()>& product) {
    const auto first = torch::autograd::grad({product().pow(3).sum()}, {x}, {}, std::nullopt, true)[0];
    return torch::autograd::grad({first.square().sum()}, {x})[0];
  };
  CHECK_THAT(second(compute), IsNear(second([&] { return exact.mm(x); }), 1e-8, 1e-10));
}

TEST_CASE("sparse_product: one, two and three threads give the same bits") {
  torch::manual_seed(5);
  const auto matrix = sparse(dense_matrix(1000, 300));
  const auto x = torch::randn({300, 16}).requires_grad_();
  const auto before = torch::get_num_threads();
  std::vector<Called> results;
  for (const int threads : {1, 2, 3}) {
    torch::set_num_threads(threads);
    results.push_back(call([&] { return sparse_product(matrix, x); }, {x}));
  }
  torch::set_num_threads(before);
  for (size_t i = 1; i < results.size(); ++i) {
    CHECK(torch::equal(results[0].out, results[i].out));
    CHECK(torch::equal(results[0].grads[0], results[i].grads[0]));
  }
}

TEST_CASE("SparseMatrix: without entries, rows or columns") {
  const auto none = torch::empty({0}, torch::kInt32);
  const SparseMatrix empty(torch::zeros({4}, torch::kInt64), none, torch::empty({0}), 2);
  CHECK(torch::equal(empty.times(torch::ones({2, 3})), torch::zeros({3, 3})));
  CHECK(torch::equal(empty.transposed_times(torch::ones({3, 3})), torch::zeros({2, 3})));
  CHECK(empty.times(torch::ones({2, 0})).sizes() == torch::IntArrayRef({3, 0}));
  const SparseMatrix nothing(torch::zeros({1}, torch::kInt64), none, torch::empty({0}), 0);
  CHECK(nothing.times(torch::empty({0, 3})).sizes() == torch::IntArrayRef({0, 3}));
}

TEST_CASE("SparseMatrix: entries of one place add up") {
  const auto matrix = std::make_shared<SparseMatrix>(torch::tensor({0, 2}), torch::tensor({0, 0}, torch::kInt32),
                                                     torch::tensor({2.f, 3.f}), 1);
  CHECK(matrix->times(torch::ones({1, 1})).item<float>() == 5);
  CHECK(matrix->transposed_times(torch::ones({1, 1})).item<float>() == 5);
  CHECK(matrix->to_dense().item<float>() == 5);
}

TEST_CASE("SparseMatrix: shapes that do not fit") {
  const auto columns = torch::tensor({0, 1}, torch::kInt32);
  const auto make = [&](torch::Tensor offsets, torch::Tensor values, int64_t width) {
    return SparseMatrix(std::move(offsets), columns, std::move(values), width);
  };
  CHECK_THROWS_AS(make(torch::tensor({0, 3}), torch::ones({2}), 2), c10::ValueError);
  CHECK_THROWS_AS(make(torch::tensor({1, 2}), torch::ones({2}), 2), c10::ValueError);
  CHECK_THROWS_AS(make(torch::tensor({0, 2, 1, 2}), torch::ones({2}), 2), c10::ValueError);
  CHECK_THROWS_AS(make(torch::tensor({0, 2}), torch::ones({3}), 2), c10::ValueError);
  CHECK_THROWS_AS(make(torch::tensor({0, 2}), torch::ones({1, 2}), 2), c10::ValueError);
  CHECK_THROWS_AS(make(torch::empty({0}, torch::kInt64), torch::ones({2}), 2), c10::ValueError);
  CHECK_THROWS_WITH(make(torch::tensor({0, 2}), torch::ones({2}), 1),
                    StartsWith("SparseMatrix: columns must be in [0, 1), got 1"));
  const auto fine = make(torch::tensor({0, 2}), torch::ones({2}), 2);
  CHECK_THROWS_WITH(fine.times(torch::ones({3, 4})), StartsWith("SparseMatrix: x must be [2, D], got [3, 4]"));
  CHECK_THROWS_WITH(fine.times(torch::ones({2})), StartsWith("SparseMatrix: x must be [2, D], got [2]"));
  CHECK_THROWS_WITH(fine.transposed_times(torch::ones({2, 4})), StartsWith("SparseMatrix: x must be [1, D]"));
}
