#include "polyscene/models/cross/uni_cdr.h"

#include "../tiny.h"
#include "catch.h"
#include "polyscene/models/ease_weights.h"

using namespace polyscene;
using models::UniCDR;
using models::UniCDROptions;
using models::UserContexts;

namespace {

// One user with items 2 .. 11 in scene 0 and 12 .. 14 in scene 1.
data::Interactions thirteen(const data::Schema& schema) {
  const auto item = torch::arange(2, 15);
  return {schema, torch::full({13}, 2), item, item.ge(12).to(torch::kInt64)};
}

std::shared_ptr<const data::Schema> wide_schema() {
  auto columns = std::make_shared<data::Columns>();
  columns->rows = 13;
  columns->categorical = {"user", "item"};
  columns->codes = torch::stack({torch::zeros({13}, torch::kInt32), torch::arange(13, torch::kInt32)}, 1);
  std::vector<std::string> names;
  for (int i = 0; i < 13; ++i) names.push_back("i" + std::to_string(i));
  columns->ids = {data::Strings({"u"}), data::Strings(names)};
  columns->scene = torch::arange(13).ge(10).to(torch::kInt32);
  columns->scene_names = {"phone", "tablet"};
  columns->label = torch::ones({13});
  data::FitOptions options;
  options.task = "ranking";
  options.user = "user";
  options.item = "item";
  options.min_count = 1;
  return data::fit_schema(*columns, torch::arange(13), options);
}

}  // namespace

TEST_CASE("UserContexts: a sample holds no entry twice, not the one left out, every other alike") {
  const auto schema = wide_schema();
  const auto known = thirteen(*schema);
  const UserContexts contexts(known);
  const int64_t n = 4000;
  const auto user = torch::full({n}, 2), scene = torch::zeros({n}, torch::kInt64);
  const auto left_out = contexts.find(user, torch::full({n}, 5), scene);
  CHECK(left_out[0].item<int64_t>() == 3);
  CHECK(contexts.find(user, torch::full({n}, 12), scene)[0].item<int64_t>() == -1);
  const auto first = torch::tensor({true, false}).expand({n, 2});
  torch::manual_seed(1);
  const auto [place, there] = contexts.sample(user, first, left_out, 4, 0.1);
  CHECK(there.sum(1).eq(4).all().item<bool>());
  CHECK(std::get<0>(place.sort(1)).diff().gt(0).all().item<bool>());
  const auto count = torch::bincount(place.flatten(), {}, known.items());
  CHECK(count[5].item<int64_t>() == 0);
  const auto share = count.slice(0, 2, 12).to(torch::kFloat64) / n;  // 4 of 9 each
  CHECK((share.sum().item<double>()) == Approx(4.0));
  for (const auto i : {2, 3, 4, 6, 7, 8, 9, 10, 11}) {
    CHECK(share[i - 2].item<double>() == Approx(4.0 / 9).margin(0.03));
  }
}

TEST_CASE("UserContexts: evenly spread over scenes, in rows of a table") {
  const auto schema = wide_schema();
  const auto known = thirteen(*schema);
  const UserContexts contexts(known);
  const auto items = known.items();
  const auto user = torch::tensor({2, 2, 0});
  const auto wanted = torch::tensor({{true, true}, {false, true}, {true, true}});
  const auto [place, there] = contexts.evenly(user, wanted, {}, 4);
  CHECK(torch::equal(there.sum(1), torch::tensor({4, 3, 0})));
  CHECK(torch::equal(place[0], torch::tensor({int64_t{2}, int64_t{5}, int64_t{8}, int64_t{11}})));
  CHECK(torch::equal(place[1].slice(0, 0, 3), torch::arange(12, 15) + items));
}

TEST_CASE("EaseWeights: rows are those that users' sums are made of") {
  const auto schema = tiny_schema("ranking");
  const auto known = data::Interactions::of(tiny_table(schema));
  for (int64_t s = 0; s < 2; ++s) {
    const auto& pairs = known->scene(s);
    const models::EaseWeights weights(pairs, 0.5);
    std::vector<float> scratch;
    for (int64_t u = 2; u < known->users(); ++u) {
      std::vector<float> whole(known->items(), 0.f), rows(known->items(), 0.f);
      weights.add(u, whole.data(), scratch);
      for (const auto* i = pairs.begin(u); i != pairs.end(u); ++i) {
        weights.add(torch::full({1}, *i, torch::kInt64), rows.data(), scratch);
      }
      for (int64_t i = 0; i < known->items(); ++i) CHECK(rows[i] == Approx(whole[i]).margin(1e-5));
    }
  }
}

TEST_CASE("UniCDR: sparse tables, and an item does not tell of itself") {
  const auto schema = tiny_schema("ranking");
  UniCDROptions options;
  options.common.dim(4);
  UniCDR model(schema, options.aggregator("attention"));
  model->prepare(tiny_table(schema));
  auto batch = tiny_batch(schema);
  batch.negative = torch::full({8, 1}, 3);
  model->sparse_gradients(true);
  model->loss(batch).backward();
  for (const auto* table : {&model->user, &model->shared, &model->item}) CHECK((*table)->weight.grad().is_sparse());
  model->eval();
  const torch::NoGradGuard no_grad;
  batch = batch.take(torch::arange(5));
  const auto ranked = model->score_items(torch::arange(2, 4), 0, torch::arange(2, 5));  // [2, 3]
  const auto alone = model->forward(batch);
  for (int64_t b = 0; b < 5; ++b) {
    CHECK(alone[b].item<float>() ==
          Approx(ranked[batch.user[b].item<int64_t>() - 2][batch.item[b].item<int64_t>() - 2].item<float>()));
  }
}

TEST_CASE("UniCDR: options out of range are refused") {
  CHECK_THROWS_WITH(UniCDR(tiny_schema("ranking"), UniCDROptions().aggregator("sum")),
                    StartsWith("UniCDR: aggregator must be 'mean', 'attention' or 'similarity', got 'sum'"));
}
