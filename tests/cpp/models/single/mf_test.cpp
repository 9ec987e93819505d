#include "polyscene/models/single/mf.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::MF;
using models::MFOptions;

TEST_CASE("MF: the score is mu + b_u + b_i + p_u . q_i") {
  MF model(tiny_schema(), MFOptions().dim(2));
  {
    torch::NoGradGuard no_grad;
    model->mean.fill_(0.5f);
    model->user_bias->weight.copy_(torch::tensor({0.f, 0.f, 10.f, 20.f}).unsqueeze(1));
    model->item_bias->weight.copy_(torch::tensor({0.f, 0.f, 1.f, 2.f, 3.f}).unsqueeze(1));
    model->user->weight.copy_(torch::tensor({{0.f, 0.f}, {0.f, 0.f}, {1.f, 2.f}, {3.f, 4.f}}));
    model->item->weight.copy_(torch::tensor({{0.f, 0.f}, {0.f, 0.f}, {1.f, 0.f}, {0.f, 1.f}, {1.f, 1.f}}));
  }
  // Rows 0 and 5: (u0, i0) and (u1, i1); i1 is the rarest item and so the last.
  const auto out = model->forward(tiny_batch());
  CHECK(out[0].item<float>() == Approx(0.5 + 10 + 1 + 1));
  CHECK(out[5].item<float>() == Approx(0.5 + 20 + 3 + 7));
}

TEST_CASE("MF: unknown and missing ids start at zero, the others do not") {
  torch::manual_seed(1);
  MF model(tiny_schema(), MFOptions().dim(4).init_std(0.5));
  for (const auto& table : {model->user->weight, model->item->weight}) {
    CHECK(table.narrow(0, 0, 2).abs().max().item<float>() == 0);
    CHECK(table.narrow(0, 2, table.size(0) - 2).abs().min().item<float>() > 0);
  }
}

TEST_CASE("MF: the penalty is l2 / 2B over looked-up rows, half of it on biases") {
  MF plain(tiny_schema(), MFOptions().dim(2).embedding_l2(0));
  MF penalised(tiny_schema(), MFOptions().dim(2).embedding_l2(0.2));
  for (auto* model : {&plain, &penalised}) {
    torch::NoGradGuard no_grad;
    for (auto& parameter : (*model)->parameters()) parameter.fill_(1);
  }
  const auto batch = tiny_batch().take(torch::tensor({0, 1, 2, 5}));
  const auto extra = penalised->loss(batch).item<double>() - plain->loss(batch).item<double>();
  CHECK(extra == Approx(0.5 * 0.2 * (2 + 2 + 0.5 + 0.5)).epsilon(1e-5));
}

TEST_CASE("MF: predicted ratings are clipped in evaluation only") {
  const auto schema = tiny_schema("rating");
  MF model(schema, MFOptions().dim(2));
  CHECK(model->mean.item<double>() == Approx(0.5));
  {
    torch::NoGradGuard no_grad;
    model->mean.fill_(7);
  }
  const auto batch = tiny_batch(schema);
  CHECK(model->forward(batch).min().item<double>() > 6);
  model->eval();
  CHECK_THAT(model->forward(batch), IsNear(torch::ones({8})));
}

TEST_CASE("MF: sparse gradients hold the looked-up rows") {
  MF model(tiny_schema(), MFOptions().dim(2));
  CHECK(model->table_parameters() ==
        std::vector<std::string>{"user.weight", "item.weight", "user_bias.weight", "item_bias.weight"});
  model->sparse_gradients(true);
  model->loss(tiny_batch().take(torch::tensor({0}))).backward();
  const auto grad = model->item_bias->weight.grad().coalesce();
  CHECK(grad.is_sparse());
  CHECK(grad.indices().equal(torch::tensor({{2}})));
}

TEST_CASE("MF: data without a user is refused") {
  auto schema = std::make_shared<data::Schema>(*tiny_schema());
  schema->user = -1;
  CHECK_THROWS_WITH(MF(schema), StartsWith("MF: the data must have a user and an item column, it has no user"));
}
