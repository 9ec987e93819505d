#include "polyscene/models/sequence/c2dsr.h"

#include "catch.h"
#include "polyscene/models/graphs.h"
#include "tiny_sequences.h"

using namespace polyscene;

namespace {

models::C2DSR tiny_c2dsr(const data::Table& table, double contrast = 0.3) {
  torch::manual_seed(1);
  models::C2DSROptions options;
  options.common.dim(8).max_length(3).dropout(0);
  options.contrast(contrast);
  models::C2DSR out(table.schema_ptr(), options);
  out->prepare(table);
  out->eval();
  return out;
}

}  // namespace

TEST_CASE("C2DSR: the graph has the shares of what followed in training") {
  // u0 meets i0, i1, i2, i3, u1 meets i3, i2, i0; i0, i2 and i3 were met twice and so are rows 2, 3 and 4, i1 is 5.
  const auto table = sequence_table();
  const auto shared = torch::arange(6), own = torch::arange(6, 18);  // the nodes of both scenes after those of all
  const auto graph = models::followers(*table.history(), shared, own, 18)->to_dense();
  auto expected = torch::zeros({18, 18});
  const std::vector<int64_t> row = {2, 5, 3, 4};
  const auto put = [&](int64_t first, int64_t from, int64_t to, double share) {
    expected[first + row[from]][first + row[to]] = share;
  };
  put(0, 0, 1, 1), put(0, 1, 2, 1), put(0, 2, 3, 0.5), put(0, 2, 0, 0.5), put(0, 3, 2, 1);
  put(6, 0, 2, 1), put(6, 2, 0, 1);  // phone
  put(12, 1, 3, 1);                  // tablet
  CHECK_THAT(graph, IsNear(expected));
}

TEST_CASE("C2DSR: scores are those of the items of each row's scene") {
  const auto table = sequence_table();
  auto model = tiny_c2dsr(table);
  const auto batch = table.batch(torch::tensor({6, 3}, torch::kInt64), false, 3);
  const auto out = model->forward(batch);
  CHECK(out.sizes() == at::IntArrayRef({2, 2}));
  const auto tablet = table.history()->interactions()->scene(1).candidates;
  CHECK_THAT(out.slice(0, 0, 1), IsNear(model->score_events(batch.history.take(torch::tensor({0})), 1, tablet), 1e-6));
}

TEST_CASE("C2DSR: the loss is finite, and small once it was learnt") {
  const auto table = sequence_table();
  auto model = tiny_c2dsr(table, 0.1);
  const auto batch = table.batch(torch::arange(7), false, 3);
  torch::optim::Adam optimizer(model->parameters(), 0.05);
  double first = 0, last = 0;
  for (int step = 0; step < 40; ++step) {
    optimizer.zero_grad();
    const auto loss = model->loss(batch);
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  CHECK(std::isfinite(first));
  CHECK(last < 0.8 * first);
}

TEST_CASE("C2DSR: options out of range are refused") {
  const auto schema = sequence_table().schema_ptr();
  models::C2DSROptions options;
  options.contrast(-0.5);
  CHECK_THROWS_WITH(models::C2DSR(schema, options), StartsWith("C2DSR: contrast must lie in [0, 1), got -0.5"));
}
