#include "polyscene/models/interest/scene_branch.h"

#include "catch.h"
#include "events.h"

using namespace polyscene;
using models::SceneBranch;
using models::SceneBranchOptions;

TEST_CASE("SceneBranch: several scenes ask for attention, one for the plain branch") {
  CHECK(SceneBranch(tiny_schema())->attends());
  CHECK_FALSE(SceneBranch(one_scene_schema())->attends());
  CHECK(SceneBranch(one_scene_schema(), SceneBranchOptions().branch("attention"))->attends());
  SceneBranch plain(tiny_schema(), SceneBranchOptions().branch("plain"));
  CHECK_FALSE(plain->attends());
  CHECK(plain->attention.is_empty());
  CHECK(plain->history_length() == 0);
  CHECK(SceneBranch(tiny_schema(), SceneBranchOptions().max_length(7))->history_length() == 7);
}

TEST_CASE("SceneBranch: the plain branch is a factorisation machine") {
  SceneBranch model(tiny_schema(), SceneBranchOptions().branch("plain").dim(2));
  auto batch = tiny_batch().take(torch::tensor({5}));  // rows 3 and 4 of users and items, in scene 1
  batch.numeric = torch::tensor({{2.f}});
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.zero_();
    model->base.fill_(0.5);
    model->scene_bias.copy_(torch::tensor({10.f, 20.f}));
    model->bias->field_rows("user")[3].fill_(3);
    model->bias->field_rows("item")[4].fill_(4);
    model->numeric_bias.fill_(7);
    model->factors->field_rows("user")[3].copy_(torch::tensor({1.f, 2.f}));
    model->factors->field_rows("item")[4].copy_(torch::tensor({3.f, 5.f}));
    model->numeric_factors[0].copy_(torch::tensor({1.f, -1.f}));
  }
  // u . i = 13, (u + i) . 2 n = 2 (4 - 7) = -6
  CHECK(model->forward(batch).item<double>() == Approx(0.5 + 20 + 3 + 4 + 14 + 13 - 6));
}

TEST_CASE("SceneBranch: attention adds interest and scene to the same machine") {
  SceneBranch plain(tiny_schema(), SceneBranchOptions().branch("plain").dim(3));
  SceneBranch full(tiny_schema(), SceneBranchOptions().dim(3));
  scramble(*plain);
  scramble(*full);
  {
    const torch::NoGradGuard no_grad;
    for (const auto& entry : plain->named_parameters()) full->named_parameters()[entry.key()].copy_(entry.value());
    for (auto* part : {&full->event_item->weight, &full->event_label, &full->scene_factors->weight}) part->zero_();
  }
  CHECK_THAT(full->forward(tiny_followed()), IsNear(plain->forward(tiny_batch()), 1e-6));
}

TEST_CASE("SceneBranch: a single event has all the weight, no event no interest") {
  SceneBranch model(tiny_schema(), SceneBranchOptions().dim(3));
  scramble(*model);
  const auto found = model->explain(tiny_followed());
  CHECK(found[3].first == "attention");
  CHECK_THAT(found[3].second[1].flatten(), IsNear(torch::tensor({1.f, 0.f, 0.f})));
  CHECK(found[4].second.equal(torch::tensor({3, 1, 0, 0, 0, 2, 0, 0}, torch::kInt64)));
  CHECK(found[2].first == "interest");
  CHECK_THAT(found[2].second[1], IsNear(model->event_item->weight[2] + model->event_label[1], 1e-6));
  CHECK_THAT(found[2].second[2], IsNear(torch::zeros({3})));
}

TEST_CASE("SceneBranch: the scene of an event bears on its weight") {
  SceneBranch model(tiny_schema(), SceneBranchOptions().dim(3));
  scramble(*model);
  auto batch = tiny_followed();
  const auto before = model->explain(batch)[3].second.clone();
  batch.history.scene = torch::tensor({1, 1, 0, 0, 1, 1}, torch::kInt64);
  CHECK((model->explain(batch)[3].second - before).abs().max().item<double>() > 1e-3);
}

TEST_CASE("SceneBranch: L2 falls on factors and attended interest, half of it on biases") {
  SceneBranch plain(tiny_schema(), SceneBranchOptions().dim(2).embedding_l2(0));
  SceneBranch penalised(tiny_schema(), SceneBranchOptions().dim(2).embedding_l2(0.4));
  for (auto* model : {&plain, &penalised}) {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : (*model)->parameters()) parameter.fill_(0.5);
  }
  const auto batch = tiny_followed().take(torch::tensor({1, 2}));
  // Factors of user, item and scene and, in row 1 alone, the interest 0.5 + 0.5; biases of user and item.
  const auto expected = 0.5 * 0.4 / 2 * (2 * 3 * 2 * 0.25 + 2 * 1 + 0.5 * 2 * 2 * 0.25);
  CHECK(penalised->loss(batch).item<double>() - plain->loss(batch).item<double>() == Approx(expected).epsilon(1e-4));
}

TEST_CASE("SceneBranch: data without users and items is attended over its fields") {
  const auto schema = anonymous_schema();
  SceneBranch model(schema);
  CHECK(model->attends());
  CHECK(model->history_length() == 0);
  scramble(*model);
  const auto found = model->explain(tiny_batch(schema));
  CHECK(found[3].first == "field_attention");
  CHECK_THAT(found[3].second.sum(1), IsNear(torch::ones({8}), 1e-6));
}

TEST_CASE("SceneBranch: scores of candidates are those of rows with the events of their users") {
  SceneBranch model(tiny_schema(), SceneBranchOptions().dim(3));
  scramble(*model);
  check_scores(*model);
}

TEST_CASE("SceneBranch: wrong options are refused") {
  CHECK_THROWS_WITH(SceneBranch(tiny_schema(), SceneBranchOptions().branch("atention")),
                    ContainsSubstring("SceneBranch: branch must be one of auto, attention, plain, got 'atention'"));
  CHECK_THROWS_WITH(SceneBranch(tiny_schema(), SceneBranchOptions().dim(0)),
                    StartsWith("SceneBranch: dim and max_length must be positive, got 0"));
  CHECK_THROWS_WITH(SceneBranch(tiny_schema(), SceneBranchOptions().embedding_l2(-1)),
                    StartsWith("SceneBranch: init_std and embedding_l2 must be 0 or more"));
  CHECK_THROWS_WITH(SceneBranch(tiny_schema(), SceneBranchOptions().dropout(1.5)),
                    StartsWith("SceneBranch: dropout must be in [0, 1), got 1.5"));
}
