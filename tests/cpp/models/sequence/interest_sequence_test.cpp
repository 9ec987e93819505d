#include "polyscene/models/sequence/interest_sequence.h"

#include "catch.h"
#include "polyscene/models/interest/interest_moves.h"
#include "tiny_sequences.h"

using namespace polyscene;

namespace {

models::InterestSequence tiny_interest_sequence(const data::Table& table) {
  torch::manual_seed(1);
  models::InterestSequenceOptions options;
  options.common.dim(8).max_length(3).dropout(0);
  options.interests(4);
  models::InterestSequence out(table.schema_ptr(), options);
  out->prepare(table);
  out->eval();
  return out;
}

}  // namespace

TEST_CASE("InterestSequence: scores are those of the items of each row's scene, shares of attention sum to 1") {
  const auto table = sequence_table();
  auto model = tiny_interest_sequence(table);
  const auto batch = table.batch(torch::tensor({6, 3}, torch::kInt64), false, 3);
  const auto out = model->forward(batch);
  CHECK(out.sizes() == at::IntArrayRef({2, 2}));
  const auto tablet = table.history()->interactions()->scene(1).candidates;
  CHECK_THAT(out.slice(0, 0, 1), IsNear(model->score_events(batch.history.take(torch::tensor({0})), 1, tablet), 1e-5));
  for (const auto& [name, values] : model->explain(batch)) {
    if (name == "attention") CHECK_THAT(values.sum(2), IsNear(torch::ones({2, 4}), 1e-6));
    if (name == "next_scene" || name == "transitions") CHECK_THAT(values.sum(1), IsNear(torch::ones({2}), 1e-6));
  }
}

TEST_CASE("InterestSequence: the loss is finite, and small once it was learnt") {
  const auto table = sequence_table();
  auto model = tiny_interest_sequence(table);
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

TEST_CASE("MeanMoves: rows are means of what followed each interest") {
  models::MeanMoves moves;
  moves.add(torch::tensor({{1.f, 0.f}, {1.f, 0.f}}), torch::tensor({{0.2f, 0.8f}, {0.4f, 0.6f}}));
  moves.add(torch::tensor({{1.f, 0.f}}), torch::tensor({{0.9f, 0.1f}}));
  const auto mean = moves.mean(torch::tensor({{1.f, 0.f}, {0.f, 1.f}}));
  CHECK_THAT(mean, IsNear(torch::tensor({{0.5f, 0.5f}, {0.f, 1.f}}), 1e-6));
}

TEST_CASE("move_loss: shares of the interests, or each by itself; rows without interests do not count") {
  const auto logits = torch::tensor({{0.f, 0.f, 0.f}, {5.f, 1.f, 2.f}});
  const auto target = torch::tensor({{1.f, 1.f, 0.f}, {0.f, 0.f, 0.f}});
  CHECK(models::move_loss(logits, target, "softmax").item<double>() == Approx(std::log(3.0)));
  CHECK(models::move_loss(logits, target, "bernoulli").item<double>() == Approx(std::log(2.0)));
  CHECK(models::move_loss(logits, torch::zeros({2, 3}), "softmax").item<double>() == 0);
}
