#include "polyscene/train/coalesce.h"

#include "catch.h"

namespace polyscene::train {
namespace {

TEST_CASE("coalesced: marks a gradient whose rows ascend, sorts and adds up others") {
  const auto values = torch::arange(6, torch::kFloat64).view({3, 2});
  const auto make = [&](const std::vector<int64_t>& rows) {
    return at::_sparse_coo_tensor_unsafe(torch::tensor(rows).view({1, 3}), values, {9, 2});
  };
  const auto ascending = make({1, 4, 8});
  CHECK(!ascending.is_coalesced());
  const auto marked = coalesced(ascending);
  CHECK(marked.is_coalesced());
  CHECK(marked._values().data_ptr() == values.data_ptr());
  for (const auto& rows : {std::vector<int64_t>{4, 1, 8}, std::vector<int64_t>{1, 4, 4}}) {
    const auto given = make(rows);
    const auto found = coalesced(given);
    CHECK(found.is_coalesced());
    CHECK(torch::equal(found.to_dense(), given.to_dense()));
    CHECK(found._values().size(0) == (rows[2] == 4 ? 2 : 3));
  }
}

TEST_CASE("coalesced: many rows of any width equal the sort, whatever the threads") {
  torch::manual_seed(0);
  for (const int64_t width : {1, 3, 64}) {
    const auto rows = torch::randint(700, {3000});
    const auto gradient = at::_sparse_coo_tensor_unsafe(rows.view({1, -1}), torch::randn({3000, width}), {700, width});
    const auto found = coalesced(gradient), expected = gradient.coalesce();
    CHECK(torch::equal(found._indices(), expected._indices()));
    CHECK(torch::allclose(found._values(), expected._values(), 1e-5, 1e-5));
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    CHECK(torch::equal(coalesced(gradient)._values(), found._values()));
    at::set_num_threads(threads);
  }
  // Few rows of a huge table are sorted, and tables of other shapes too.
  const auto far = at::_sparse_coo_tensor_unsafe(torch::tensor({{99999, 5, 5}}), torch::ones({3, 2}), {100000, 2});
  CHECK(torch::equal(coalesced(far)._values(), torch::tensor({{2.f, 2.f}, {1.f, 1.f}})));
  const auto deep = at::_sparse_coo_tensor_unsafe(torch::tensor({{3, 1, 3}}), torch::ones({3, 2, 2}), {9, 2, 2});
  CHECK(torch::equal(coalesced(deep).to_dense(), deep.to_dense()));
}

}  // namespace
}  // namespace polyscene::train
