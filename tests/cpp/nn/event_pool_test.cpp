#include "polyscene/nn/event_pool.h"

#include "catch.h"

using namespace polyscene;
using nn::EventPool;
using nn::EventPoolOptions;
using torch::Tensor;

namespace {

// Rows with two, no and three events.
data::Events events() {
  data::Events out;
  out.offsets = torch::tensor({0, 2, 2, 5}, torch::kInt64);
  out.item = torch::tensor({2, 3, 4, 2, 3}, torch::kInt32);
  out.scene = torch::tensor({0, 1, 0, 1, 1}, torch::kInt64);
  out.label = torch::tensor({1, 0, 1, 1, 0}, torch::kFloat32);
  out.time = torch::tensor({1, 2, 1, 2, 3}, torch::kInt64);
  out.interest = {torch::tensor({7, 8, 9}, torch::kInt32), torch::tensor({0, 1, 1, 2, 2, 3}, torch::kInt64)};
  return out;
}

}  // namespace

TEST_CASE("EventPool: the sum of the newest rows over the root of their number") {
  EventPool pool(5, EventPoolOptions{2, 2});
  const auto y = torch::arange(10, torch::kFloat32).view({5, 2});
  const torch::NoGradGuard no_grad;
  pool->item->weight.copy_(y);
  const auto root = std::sqrt(2.0f);
  const auto wanted = torch::stack({(y[2] + y[3]) / root, torch::zeros({2}), (y[2] + y[3]) / root});
  CHECK(torch::allclose(pool->forward(events(), 3), wanted));
  CHECK(torch::equal(pool->forward({}, 4), torch::zeros({4, 2})));
  pool->to(torch::kFloat64);
  CHECK(pool->forward(events(), 3).scalar_type() == torch::kFloat64);
}

TEST_CASE("EventPool: its start, its gradients and wrong options") {
  EventPool pool(5, EventPoolOptions{3, 4, 0.5});
  CHECK(!pool->item->weight.slice(0, 0, 2).any().item<bool>());  // unknown and missing items
  CHECK(pool->item->weight.slice(0, 2).ne(0).all().item<bool>());
  pool->forward(events(), 3).sum().backward();
  const auto dense = pool->item->weight.grad().clone();
  pool->item->weight.mutable_grad().reset();
  pool->item->options.sparse(true);
  pool->forward(events(), 3).sum().backward();
  CHECK(pool->item->weight.grad().is_sparse());
  CHECK(torch::equal(pool->item->weight.grad().to_dense(), dense));
  CHECK_THROWS_WITH(EventPool(5, EventPoolOptions{0}), StartsWith("EventPool: dim must be positive, got 0"));
  CHECK_THROWS_WITH(EventPool(5, EventPoolOptions{2, 0}), StartsWith("EventPool: length must be positive, got 0"));
  CHECK_THROWS_WITH(EventPool(5, EventPoolOptions{2, 1, -1}), StartsWith("EventPool: init_std must be 0 or more"));
  auto wrong = events();
  wrong.item = wrong.item + 2;
  CHECK_THROWS_WITH(pool->forward(wrong, 3), ContainsSubstring("field 'item' has rows 0..4, got 5"));
}

TEST_CASE("Events: the newest of each row, with all that they carry") {
  const auto found = events().newest(2);
  CHECK(torch::equal(found.offsets, torch::tensor({0, 2, 2, 4}, torch::kInt64)));
  CHECK(torch::equal(found.item, torch::tensor({2, 3, 2, 3}, torch::kInt32)));
  CHECK(torch::equal(found.scene, torch::tensor({0, 1, 1, 1}, torch::kInt64)));
  CHECK(torch::equal(found.label, torch::tensor({1.0f, 0.0f, 1.0f, 0.0f})));
  CHECK(torch::equal(found.time, torch::tensor({1, 2, 2, 3}, torch::kInt64)));
  CHECK(torch::equal(found.interest.values, torch::tensor({7, 9}, torch::kInt32)));
  CHECK(torch::equal(found.interest.offsets, torch::tensor({0, 1, 1, 1, 2}, torch::kInt64)));
  CHECK(events().newest(0).item.numel() == 0);
  const auto all = events();
  CHECK(all.newest(3).item.data_ptr() == all.item.data_ptr());  // nothing to leave out
  CHECK(!data::Events().newest(3).defined());
}
