#include "polyscene/models/cross/disen_cdr.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::DisenCDR;
using models::DisenCDROptions;

namespace {

DisenCDROptions small_disen_cdr() {
  DisenCDROptions options;
  options.common.dim(8);
  return options;
}

}  // namespace

TEST_CASE("DisenCDR: means in evaluation, noise in training, a divergence that grows with the tables") {
  const auto schema = tiny_schema("ranking");
  torch::manual_seed(3);
  DisenCDR model(schema, small_disen_cdr());
  model->prepare(tiny_table(schema));
  auto batch = tiny_batch(schema);
  batch.negative = torch::full({8, 1}, 3);
  CHECK(!torch::equal(model->forward(batch), model->forward(batch)));
  model->eval();
  CHECK(torch::equal(model->forward(batch), model->forward(batch)));
  DisenCDR without(schema, small_disen_cdr().divergence(0));
  without->eval();
  without->prepare(tiny_table(schema));
  {
    const torch::NoGradGuard no_grad;
    auto to = without->named_parameters();
    for (const auto& parameter : model->named_parameters()) to[parameter.key()].copy_(parameter.value());
  }
  CHECK(model->loss(batch).item<double>() > without->loss(batch).item<double>() + 0.01);
}

TEST_CASE("DisenCDR: who is known nowhere scores 0, tables train sparsely") {
  const auto schema = tiny_schema("ranking");
  DisenCDR model(schema, small_disen_cdr());
  auto batch = tiny_batch(schema);
  CHECK(model->forward(batch).eq(0).all().item<bool>());
  model->prepare(tiny_table(schema));
  batch.negative = torch::full({8, 1}, 3);
  model->sparse_gradients(true);
  model->loss(batch).backward();
  CHECK(model->user->weight.grad().is_sparse());
  CHECK(model->shared->weight.grad().is_sparse());
  batch.user = torch::zeros({8}, torch::kInt64);
  model->eval();
  CHECK(model->forward(batch).eq(0).all().item<bool>());
}
