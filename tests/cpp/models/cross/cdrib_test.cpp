#include "polyscene/models/cross/cdrib.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::CDRIB;
using models::CDRIBOptions;

namespace {

CDRIBOptions small_cdrib() {
  CDRIBOptions options;
  options.common.dim(8);
  return options;
}

}  // namespace

TEST_CASE("CDRIB: means in evaluation, noise in training, sparse tables") {
  const auto schema = tiny_schema("ranking");
  torch::manual_seed(3);
  CDRIB model(schema, small_cdrib());
  model->prepare(tiny_table(schema));
  auto batch = tiny_batch(schema);
  CHECK(!torch::equal(model->forward(batch), model->forward(batch)));
  batch.negative = torch::full({8, 1}, 3);
  model->sparse_gradients(true);
  model->loss(batch).backward();
  CHECK(model->user->weight.grad().is_sparse());
  CHECK(model->item->weight.grad().is_sparse());
  model->eval();
  CHECK(torch::equal(model->forward(batch), model->forward(batch)));
}

TEST_CASE("CDRIB: who is known nowhere scores 0, also before it is prepared") {
  const auto schema = tiny_schema("ranking");
  CDRIB model(schema, small_cdrib());
  auto batch = tiny_batch(schema);
  CHECK(model->forward(batch).eq(0).all().item<bool>());
  model->prepare(tiny_table(schema));
  model->eval();
  CHECK(model->forward(batch).ne(0).any().item<bool>());
  batch.user = torch::zeros({8}, torch::kInt64);
  CHECK(model->forward(batch).eq(0).all().item<bool>());
}
