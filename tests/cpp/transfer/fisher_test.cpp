#include "polyscene/transfer/fisher.h"

#include "../models/tiny.h"
#include "catch.h"
#include "polyscene/models/single/logistic.h"
#include "polyscene/models/single/mf.h"

using namespace polyscene;
using transfer::fisher;
using transfer::FisherOptions;
using transfer::lookups;

TEST_CASE("fisher: its mean over many draws is p (1 - p) times the squared inputs") {
  const auto schema = tiny_schema();
  const auto table = tiny_table(schema);
  models::LogisticImpl model(schema);
  {
    torch::NoGradGuard no_grad;
    model.bias.fill_(-0.7);
    model.fields->weight.narrow(0, 2, 1).fill_(1.5);  // user u0 or the first user by count
  }
  const auto batch = tiny_batch(schema);
  const auto p = model.forward(batch).detach().sigmoid().to(torch::kFloat64);
  const auto each = p * (1 - p);  // [8]
  const auto first = batch.categorical.select(1, 0).eq(2).to(torch::kFloat64);
  constexpr int64_t kDraws = 2'000;
  double bias = 0, user = 0;
  for (int64_t seed = 0; seed < kDraws; ++seed) {
    const auto found = fisher(model, table, FisherOptions().batches(2).batch_size(4).seed(seed));
    bias += found.at("bias").item<double>() / kDraws;
    user += found.at("fields.weight")[2].item<double>() / kDraws;
  }
  CHECK(bias == Approx(each.mean().item<double>()).epsilon(0.05));
  CHECK(user == Approx((each * first).mean().item<double>()).epsilon(0.05));
  CHECK(model.is_training());
  CHECK_FALSE(model.bias.grad().defined());
}

TEST_CASE("fisher: the same seed gives the same bits, rows that no batch reaches have 0") {
  const auto schema = tiny_schema();
  models::MFImpl model(schema, models::MFOptions().dim(2).init_std(1));
  const auto rows = tiny_table(schema).take(torch::tensor({0, 1, 4}));  // user u0 alone
  const auto once = fisher(model, rows, FisherOptions().batch_size(3)),
             again = fisher(model, rows, FisherOptions().batch_size(3));
  CHECK(torch::equal(once.at("user.weight"), again.at("user.weight")));
  CHECK(once.at("user.weight").ne(0).any(1).sum().item<int64_t>() == 1);
  CHECK_THROWS_WITH(fisher(model, rows.take(torch::zeros({0}, torch::kInt64))),
                    StartsWith("fisher: the table has no rows"));
  CHECK_THROWS_WITH(fisher(model, rows, FisherOptions().batches(0)),
                    StartsWith("fisher: batches and batch_size must be positive, got 0 and 32"));
}

TEST_CASE("lookups: rows are counted by field, in fused and in plain tables") {
  const auto schema = tiny_schema();
  const auto table = tiny_table(schema);
  const auto categorical = tiny_batch(schema).categorical;
  const auto users = torch::bincount(categorical.select(1, 0).to(torch::kInt64), {}, 4);
  const auto items = torch::bincount(categorical.select(1, 1).to(torch::kInt64), {}, 5);
  const auto fused = lookups(models::LogisticImpl(schema), table);
  CHECK(torch::equal(fused.at("fields.weight"), torch::cat({users, items})));
  const auto plain = lookups(models::MFImpl(schema), table);
  CHECK(plain.size() == 4);
  CHECK(torch::equal(plain.at("user_bias.weight"), users));
  CHECK(torch::equal(plain.at("item.weight"), items));
  const auto some = lookups(models::MFImpl(schema), table.take(torch::tensor({0, 1, 4})));
  CHECK(some.at("user.weight").sum().item<int64_t>() == 3);
}
