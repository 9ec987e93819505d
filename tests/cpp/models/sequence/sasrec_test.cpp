#include "polyscene/models/sequence/sasrec.h"

#include "catch.h"
#include "tiny_sequences.h"

using namespace polyscene;

namespace {

models::SASRec tiny_sasrec(const data::Table& table) {
  torch::manual_seed(1);
  models::SASRecOptions options;
  options.common.dim(4).max_length(3).dropout(0).loss("ce");
  models::SASRec out(table.schema_ptr(), options);
  out->prepare(table);
  out->eval();
  return out;
}

}  // namespace

TEST_CASE("SASRec: scores are those of the items of each row's scene") {
  const auto table = sequence_table();
  auto model = tiny_sasrec(table);
  const auto batch = table.batch(torch::tensor({6, 3}, torch::kInt64), false, 3);
  const auto out = model->forward(batch);
  CHECK(out.sizes() == at::IntArrayRef({2, 2}));
  const auto tablet = table.history()->interactions()->scene(1).candidates;
  CHECK_THAT(out.slice(0, 0, 1), IsNear(model->score_events(batch.history.take(torch::tensor({0})), 1, tablet), 1e-6));
}

TEST_CASE("SASRec: the newest state weighs the events that are followed, and no others") {
  const auto table = sequence_table();
  auto model = tiny_sasrec(table);
  auto batch = table.batch(torch::tensor({6, 1}, torch::kInt64), false, 3);
  batch.history.item[1] = data::kUnknown;
  const auto told = model->explain(batch);
  REQUIRE(told.size() == 3);
  CHECK(told[1].first == "attention");
  const auto weights = told[1].second;  // [B, heads, T]
  CHECK(weights.sizes() == at::IntArrayRef({2, 1, 3}));
  CHECK(weights[0][0][1].item<double>() == 0);
  CHECK_THAT(weights[0].sum(), IsNear(torch::ones({})));
  CHECK(weights[1].sum().item<double>() == 0);  // the first event of its user
  CHECK(told[2].second.equal(torch::tensor({3, 0}, torch::kInt64)));
}

TEST_CASE("SASRec: the loss is finite, and small once it was learnt") {
  const auto table = sequence_table();
  auto model = tiny_sasrec(table);
  const auto batch = table.batch(torch::arange(7), false, 3);
  torch::optim::Adam optimizer(model->parameters(), 0.05);
  double first = 0, last = 0;
  for (int step = 0; step < 200; ++step) {
    optimizer.zero_grad();
    const auto loss = model->loss(batch);
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  CHECK(std::isfinite(first));
  CHECK(last < 0.5 * first);
}

TEST_CASE("SASRec: options out of range are refused") {
  const auto schema = sequence_table().schema_ptr();
  models::SASRecOptions options;
  options.common.dim(0);
  CHECK_THROWS_WITH(models::SASRec(schema, options), StartsWith("SASRec: dim must be positive, got 0"));
}
