#include "polyscene/models/sequence/bert4rec.h"

#include "catch.h"
#include "tiny_sequences.h"

using namespace polyscene;

namespace {

models::BERT4Rec tiny_bert4rec(const data::Table& table) {
  torch::manual_seed(1);
  models::BERT4RecOptions options;
  options.common.dim(16).max_length(3).dropout(0).loss("ce");
  options.last_ratio(1);  // the same events are masked at every step
  models::BERT4Rec out(table.schema_ptr(), options);
  out->prepare(table);
  out->eval();
  return out;
}

}  // namespace

TEST_CASE("BERT4Rec: scores are those of the items of each row's scene") {
  const auto table = sequence_table();
  auto model = tiny_bert4rec(table);
  const auto batch = table.batch(torch::tensor({6, 3}, torch::kInt64), false, 3);
  const auto out = model->forward(batch);
  CHECK(out.sizes() == at::IntArrayRef({2, 2}));
  const auto tablet = table.history()->interactions()->scene(1).candidates;
  CHECK_THAT(out.slice(0, 0, 1), IsNear(model->score_events(batch.history.take(torch::tensor({0})), 1, tablet), 1e-6));
}

TEST_CASE("BERT4Rec: the loss is finite, and small once it was learnt") {
  const auto table = sequence_table();
  auto model = tiny_bert4rec(table);
  const auto batch = table.batch(torch::arange(7), false, 3);
  torch::optim::Adam optimizer(model->parameters(), 0.01);
  double first = 0, last = 0;
  for (int step = 0; step < 300; ++step) {
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

TEST_CASE("BERT4Rec: options out of range are refused") {
  const auto schema = sequence_table().schema_ptr();
  models::BERT4RecOptions options;
  options.common.dim(0);
  CHECK_THROWS_WITH(models::BERT4Rec(schema, options), StartsWith("BERT4Rec: dim must be positive, got 0"));
}
