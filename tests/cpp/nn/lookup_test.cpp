#include "polyscene/nn/lookup.h"

#include "catch.h"

using polyscene::nn::FieldRows;
using polyscene::nn::lookup;
using torch::Tensor;

namespace {

FieldRows two_fields() {
  FieldRows rows;
  rows.add("age", 3);
  rows.add("job", 2);
  return rows;
}

// Row by row, without the code under test.
Tensor slow_lookup(const Tensor& weight, const Tensor& index, const FieldRows& fields) {
  std::vector<Tensor> out;
  for (int64_t b = 0; b < index.size(0); ++b) {
    for (int64_t f = 0; f < index.size(1); ++f) out.push_back(weight[fields.offsets[f] + index[b][f].item<int64_t>()]);
  }
  return torch::stack(out).view({index.size(0), index.size(1), weight.size(1)});
}

Tensor random_index(const FieldRows& fields, int64_t batch) {
  std::vector<Tensor> columns;
  for (int64_t f = 0; f < fields.size(); ++f) columns.push_back(torch::randint(fields.rows(f), {batch}, torch::kInt32));
  return torch::stack(columns, 1);
}

}  // namespace

TEST_CASE("lookup: takes each field's own rows") {
  const auto weight = torch::arange(10, torch::kFloat32).view({5, 2});
  const auto index = torch::tensor({{2, 0}, {0, 1}}, torch::kInt32);
  const auto wanted = torch::tensor({{{4., 5.}, {6., 7.}}, {{0., 1.}, {8., 9.}}}, torch::kFloat32);
  CHECK_THAT(lookup(weight, index, two_fields()), IsNear(wanted, 0));
  CHECK_THAT(lookup(weight, index.to(torch::kInt64), two_fields()), IsNear(wanted, 0));
  CHECK_THAT(lookup(weight.to(torch::kFloat64), index, two_fields()), IsNear(wanted.to(torch::kFloat64), 0));
  CHECK_THAT(lookup(weight.to(torch::kBFloat16), index, two_fields()), IsNear(wanted.to(torch::kBFloat16), 0));
}

TEST_CASE("lookup: gradients equal those of indexing row by row") {
  FieldRows fields;
  for (const int64_t rows : {3, 200, 70, 1}) fields.add("f" + std::to_string(rows), rows);
  for (const int64_t width : {1, 3, 16}) {
    const auto weight = torch::randn({fields.total() + 2, width}, torch::kFloat64).requires_grad_();
    const auto index = random_index(fields, 150);
    const auto scale = torch::randn({150, 4, width}, torch::kFloat64);
    const auto wanted = torch::autograd::grad({(slow_lookup(weight, index, fields) * scale).sum()}, {weight})[0];
    for (const bool sparse : {false, true}) {
      const auto out = lookup(weight, index, fields, sparse);
      CHECK_THAT(out, IsNear(slow_lookup(weight, index, fields), 0));
      const auto grad = torch::autograd::grad({(out * scale).sum()}, {weight})[0];
      REQUIRE(grad.is_sparse() == sparse);
      CHECK_THAT(sparse ? grad.to_dense() : grad, IsNear(wanted, 1e-12));
    }
  }
}

TEST_CASE("lookup: a sparse gradient is coalesced, sorted and holds the looked-up rows only") {
  const auto weight = torch::randn({5, 2}).requires_grad_();
  const auto out = lookup(weight, torch::tensor({{2, 1}, {0, 1}, {2, 1}}, torch::kInt32), two_fields(), true);
  const auto grad = torch::autograd::grad({out.sum()}, {weight})[0];
  CHECK(grad.is_coalesced());
  CHECK_THAT(grad._indices(), IsNear(torch::tensor({{0, 2, 4}}, torch::kInt64), 0));
  CHECK_THAT(grad._values(), IsNear(torch::tensor({{1., 1.}, {2., 2.}, {3., 3.}}, torch::kFloat32), 0));
}

TEST_CASE("lookup: threads and sparsity do not change a bit") {
  FieldRows fields;
  for (const int64_t rows : {2, 900, 40}) fields.add("f" + std::to_string(rows), rows);
  const auto weight = torch::randn({fields.total(), 16}).requires_grad_();
  const auto index = random_index(fields, 5000);
  const auto scale = torch::randn({5000, 3, 16});
  const auto gradient = [&](bool sparse, int threads) {
    const int before = torch::get_num_threads();
    torch::set_num_threads(threads);
    const auto grad = torch::autograd::grad({(lookup(weight, index, fields, sparse) * scale).sum()}, {weight})[0];
    torch::set_num_threads(before);
    return sparse ? grad.to_dense() : grad;
  };
  const auto one = gradient(false, 1);
  CHECK(torch::equal(one, gradient(false, 2)));
  CHECK(torch::equal(one, gradient(true, 1)));
  CHECK(torch::equal(one, gradient(true, 2)));
}

TEST_CASE("lookup: an index outside its field is refused with field and row") {
  const auto weight = torch::randn({5, 2});
  const auto message =
      "lookup: field 'age' has rows 0..2, got 3 in batch row 1; was the batch encoded with another schema?";
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    try {
      lookup(weight.to(type), torch::tensor({{0, 0}, {3, 0}, {-1, 9}}, torch::kInt32), two_fields());
      FAIL("no error");
    } catch (const c10::IndexError& error) {
      CHECK(std::string(error.what_without_backtrace()) == message);
    }
  }
  CHECK_THROWS_AS(lookup(weight, torch::tensor({{0, -1}}, torch::kInt32), two_fields()), c10::IndexError);
}

TEST_CASE("lookup: shapes and types that do not fit are refused") {
  const auto index = torch::zeros({2, 2}, torch::kInt32);
  CHECK_THROWS_WITH(lookup(torch::randn({4, 2}), index, two_fields()),
                    StartsWith("lookup: weight must be [V, D] with V >= 5, got [4, 2]"));
  CHECK_THROWS_WITH(lookup(torch::randn({5, 2}), index.slice(1, 0, 1), two_fields()),
                    StartsWith("lookup: index must be [B, 2], one column per field, got [2, 1]"));
  CHECK_THROWS_WITH(lookup(torch::randn({5, 2}), index.to(torch::kFloat32), two_fields()),
                    StartsWith("lookup: index must be int32 or int64, got Float"));
}

TEST_CASE("lookup: no rows and no fields are legal") {
  const auto weight = torch::randn({5, 2}).requires_grad_();
  const auto none = lookup(weight, torch::zeros({0, 2}, torch::kInt32), two_fields());
  CHECK(none.sizes() == torch::IntArrayRef({0, 2, 2}));
  CHECK(torch::autograd::grad({none.sum()}, {weight})[0].abs().sum().item<float>() == 0);
  CHECK(lookup(weight, torch::zeros({3, 0}, torch::kInt32), FieldRows()).sizes() == torch::IntArrayRef({3, 0, 2}));
}

TEST_CASE("lookup: dense gradients can be differentiated again, sparse ones say that they cannot") {
  const auto weight = torch::randn({5, 2}, torch::kFloat64).requires_grad_();
  const auto index = torch::tensor({{2, 1}, {2, 0}}, torch::kInt32);
  const auto second = [&](bool sparse) {
    const auto y = lookup(weight, index, two_fields(), sparse).pow(3).sum();
    const auto first = torch::autograd::grad({y}, {weight}, {}, true, /*create_graph=*/true)[0];
    return torch::autograd::grad({first.sum()}, {weight})[0];
  };
  const auto counts = torch::tensor({0., 0., 2., 1., 1.}, torch::kFloat64).unsqueeze(1);
  CHECK_THAT(second(false), IsNear(6 * weight.detach() * counts, 1e-12));
  CHECK_THROWS_WITH(second(true), StartsWith("lookup: sparse gradients have no second derivative"));
}

TEST_CASE("lookup_flat: rows side by side, and more columns after them") {
  FieldRows fields;
  fields.add("a", 3);
  fields.add("b", 4);
  const bool sparse = GENERATE(false, true);
  const auto index = torch::tensor({{2, 0}, {1, 3}, {2, 3}}, torch::kInt32);
  auto weight = torch::randn({7, 16}, torch::kFloat64).requires_grad_();
  auto beside = torch::randn({3, 2}, torch::kFloat64).requires_grad_();
  const auto scale = torch::randn({3, 34}, torch::kFloat64);
  const auto flat = lookup_flat(weight, index, fields, beside, sparse);
  CHECK(torch::equal(flat, torch::cat({lookup(weight, index, fields).flatten(1), beside}, 1)));
  (flat * scale).sum().backward();
  CHECK(torch::equal(beside.grad(), scale.narrow(1, 32, 2)));
  auto expected = torch::zeros({7, 16}, torch::kFloat64);
  for (int64_t b = 0; b < 3; ++b) {
    for (int64_t f = 0; f < 2; ++f) {
      expected[fields.offsets[f] + index[b][f].item<int64_t>()] += scale[b].narrow(0, f * 16, 16);
    }
  }
  const auto got = sparse ? weight.grad().to_dense() : weight.grad();
  CHECK(torch::allclose(got, expected, 1e-12, 1e-12));
  CHECK(lookup_flat(weight, index, fields, {}).sizes() == torch::IntArrayRef({3, 32}));
  CHECK_THROWS_WITH(lookup_flat(weight, index, fields, beside.narrow(0, 0, 2)),
                    StartsWith("lookup: beside must be [3, M], got [2, 2]"));
}
