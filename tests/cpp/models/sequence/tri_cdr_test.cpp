#include "polyscene/models/sequence/tri_cdr.h"

#include "catch.h"
#include "tiny_sequences.h"

using namespace polyscene;

namespace {

models::TriCDR tiny_tri_cdr(const data::Table& table) {
  torch::manual_seed(1);
  models::TriCDROptions options;
  options.common.dim(8).max_length(3).dropout(0).loss("ce");
  options.warm_up(0).triplet(0.1).scale(10);
  models::TriCDR out(table.schema_ptr(), options);
  out->prepare(table);
  out->eval();
  return out;
}

}  // namespace

TEST_CASE("ViewAttention: with equal weights it gives the mean of each view, and 0 for an empty one") {
  models::ViewAttention attention(2, std::vector<int64_t>{3});
  {
    torch::NoGradGuard no_grad;
    for (auto& parameter : attention->parameters()) parameter.zero_();
  }
  const auto keys = torch::tensor({{1.f, 2.f}, {3.f, 4.f}, {5.f, 6.f}});
  const auto offsets = torch::tensor({0, 2, 2, 3, 6, 7, 7}, torch::kInt64);  // two queries, three views each
  const auto pair = torch::tensor({0, 1, 2, 0, 1, 2, 1}, torch::kInt64);
  const auto out = attention->forward(keys, torch::ones({2, 2}), pair, offsets, 3);
  const auto expected = torch::tensor({2.f, 3.f, 0.f, 0.f, 5.f, 6.f, 3.f, 4.f, 3.f, 4.f, 0.f, 0.f}).view({2, 3, 2});
  CHECK_THAT(out, IsNear(expected, 1e-6));
}

TEST_CASE("TriCDR: scores are those of the items of each row's scene") {
  const auto table = sequence_table();
  auto model = tiny_tri_cdr(table);
  const auto batch = table.batch(torch::tensor({6, 3}, torch::kInt64), false, 3);
  const auto out = model->forward(batch);
  CHECK(out.sizes() == at::IntArrayRef({2, 2}));
  CHECK(out.abs().max().item<double>() <= 10.0001);  // cosines, times the scale
  const auto tablet = table.history()->interactions()->scene(1).candidates;
  CHECK_THAT(out.slice(0, 0, 1), IsNear(model->score_events(batch.history.take(torch::tensor({0})), 1, tablet), 1e-5));
}

TEST_CASE("TriCDR: the loss is finite, and small once it was learnt") {
  const auto table = sequence_table();
  auto model = tiny_tri_cdr(table);
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

TEST_CASE("TriCDR: options out of range are refused") {
  const auto schema = sequence_table().schema_ptr();
  models::TriCDROptions options;
  options.temperature(0);
  CHECK_THROWS_WITH(models::TriCDR(schema, options), StartsWith("TriCDR: temperature must be positive, got 0"));
}
