#include "../tiny.h"
#include "catch.h"
#include "polyscene/models/single/gat.h"
#include "polyscene/models/single/gcn.h"
#include "polyscene/models/single/ngcf.h"

using namespace polyscene;
using namespace polyscene::models;

TEST_CASE("GCN: one layer is A X W + b beside the factors") {
  const auto schema = tiny_schema("ranking");
  GCN model(schema, GCNOptions().layers(1));
  model->eval();
  model->prepare(tiny_table(schema));
  const torch::NoGradGuard no_grad;
  model->linears->ptr<torch::nn::LinearImpl>(0)->bias.normal_();
  const auto graph = bipartite(model->history()->interactions()->pooled(), EdgeWeight::kSymmetric, true)->to_dense();
  const auto factors = torch::cat({model->user->weight, model->item->weight});
  const auto nodes =
      torch::cat({factors, model->linears->ptr<torch::nn::LinearImpl>(0)->forward(graph.mm(factors))}, 1);
  const auto batch = tiny_batch(schema);
  const auto expected = (nodes.index_select(0, batch.user) * nodes.index_select(0, batch.item + 4)).sum(1);
  CHECK_THAT(model->forward(batch), IsNear(expected, 1e-5));
}

TEST_CASE("NGCF, GCN, GAT: finite before prepare, dense gradients") {
  const auto schema = tiny_schema("ranking");
  const auto try_out = [&](auto model) {
    INFO(model->name());
    CHECK(model->forward(tiny_batch(schema)).isfinite().all().template item<bool>());
    model->prepare(tiny_table(schema));
    auto batch = tiny_batch(schema);
    batch.negative = torch::full({8, 1}, 3);
    model->sparse_gradients(true);
    model->loss(batch).backward();
    CHECK(!model->user->weight.grad().is_sparse());
    CHECK(model->user->weight.grad().abs().max().template item<float>() > 0);
  };
  try_out(NGCF(schema));
  try_out(GCN(schema));
  try_out(GAT(schema));
}
