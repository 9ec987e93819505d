#include "polyscene/models/cross/bi_tgcf.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::BiTGCF;
using models::BiTGCFOptions;

TEST_CASE("BiTGCF: a pair of one scene by hand") {
  // Rows train in scene 0: (u0, i0), (u0, i1), (u1, i0), (u1, i2), (u0, i2); in scene 1: (u1, i1), (u0, i0), (u1, i2).
  const auto schema = tiny_schema("ranking");
  BiTGCF model(schema, BiTGCFOptions().layers(1).exchange("none"));
  model->eval();
  const auto batch = tiny_batch(schema);
  const torch::NoGradGuard no_grad;
  const auto vector = [&](const torch::Tensor& own, const torch::Tensor& gathered) {
    const auto layer = own + gathered + own * gathered;
    return torch::cat({own, layer / layer.norm()});
  };
  model->prepare(tiny_table(schema));
  const auto users = model->user->weight.view({2, 4, 64}), items = model->item->weight.view({2, 5, 64});
  // In scene 1 u1 met two items, each of them met by it alone; row 5 is (u1, i1) there.
  const auto u = batch.user[5].item<int64_t>(), i = batch.item[5].item<int64_t>(), j = batch.item[7].item<int64_t>();
  REQUIRE(batch.scene[5].item<int64_t>() == 1);
  const auto root = std::sqrt(2.0);
  const auto user = vector(users[1][u], (items[1][i] + items[1][j]) / root);
  const auto item = vector(items[1][i], users[1][u] / root);
  CHECK(model->forward(batch)[5].item<double>() == Approx((user * item).sum().item<double>()).epsilon(1e-5));
}

TEST_CASE("BiTGCF: trains sparsely and refuses options out of range") {
  const auto schema = tiny_schema("ranking");
  BiTGCF model(schema);
  model->prepare(tiny_table(schema));
  CHECK(model->table_parameters() == std::vector<std::string>{"user.weight", "item.weight"});
  auto batch = tiny_batch(schema);
  batch.negative = torch::full({8, 1}, 3);
  model->sparse_gradients(true);
  model->loss(batch).backward();
  CHECK(model->user->weight.grad().is_sparse());
  CHECK_THROWS_WITH(BiTGCF(schema, BiTGCFOptions().own(2)), StartsWith("BiTGCF: own must lie in [0, 1], got 2"));
}
