#include "polyscene/models/interest/interest_migration.h"

#include "catch.h"
#include "events.h"

using namespace polyscene;
using models::InterestMigration;
using models::InterestMigrationOptions;

namespace {

InterestMigrationOptions small_migration() {
  return InterestMigrationOptions().dim(4).hidden(4).interests(3).factors(2).mlp({5}).dropout(0);
}

torch::Tensor found(const models::Explanation& explanation, const std::string& name) {
  for (const auto& [key, value] : explanation) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace

TEST_CASE("InterestMigration: data without interests have as many as the options say") {
  InterestMigration model(tiny_schema(), small_migration());
  CHECK(model->num_interests() == 3);
  CHECK(found(model->explain(tiny_followed()), "transitions").sizes() == torch::IntArrayRef({8, 3}));
}

TEST_CASE("InterestMigration: softmax transitions sum to one, Bernoulli ones need not") {
  InterestMigration softmax(tiny_schema(), small_migration()),
      bernoulli(tiny_schema(), small_migration().transition("bernoulli"));
  scramble(*softmax);
  scramble(*bernoulli);
  CHECK_THAT(found(softmax->explain(tiny_followed()), "transitions").sum(1), IsNear(torch::ones({8}), 1e-5));
  const auto each = found(bernoulli->explain(tiny_followed()), "transitions");
  CHECK(each.gt(0).all().item<bool>());
  CHECK(each.lt(1).all().item<bool>());
  CHECK((each.sum(1) - 1).abs().max().item<double>() > 0.05);
}

TEST_CASE("InterestMigration: the fast path of forward is the causal attention at the last event") {
  for (const auto* kind : {"multi_head", "pair"}) {
    InterestMigration model(tiny_schema(), small_migration().attention(kind));
    scramble(*model);
    const auto batch = tiny_followed();
    // An event more, later than all of row 0: what explain says of row 0 before it must not change.
    const auto before = found(model->explain(batch), "interests")[0];
    auto longer = batch;
    longer.history.offsets = torch::tensor({0, 3, 8, 8, 8, 8, 10, 10, 10}, torch::kInt64);
    const auto more = torch::tensor({0, 1, 2, 3, 0, 1, 2, 0, 4, 5}, torch::kInt64);
    for (auto* column : {&longer.history.item, &longer.history.scene, &longer.history.label, &longer.history.time}) {
      *column = column->index_select(0, more);
    }
    CHECK_THAT(found(model->explain(longer), "interests")[0], IsNear(before, 1e-6));
    CHECK_THAT(model->forward(longer)[0], IsNear(model->forward(batch)[0], 1e-6));
  }
}

TEST_CASE("InterestMigration: a pair of scenes has a matrix of its own") {
  InterestMigration model(tiny_schema(), small_migration());
  scramble(*model);
  const auto batch = tiny_followed();
  const auto before = model->forward(batch).clone();
  {
    const torch::NoGradGuard no_grad;
    model->scene_transition[0 * 2 + 1].add_(torch::arange(9).view({3, 3}));  // from scene 0 to scene 1
  }
  // Row 5 goes from scene 1 to 1; row 0 and 1 from 0 to 0; rows 6 and 7, without events, from their own scene 1.
  CHECK_THAT(model->forward(batch), IsNear(before));
  auto moved = batch;
  moved.scene = torch::ones_like(batch.scene);
  {
    const torch::NoGradGuard no_grad;
    const auto with = model->forward(moved);
    model->scene_transition[1].zero_();
    CHECK((with - model->forward(moved))
              .abs()
              .gt(1e-4)
              .equal(torch::tensor({true, true, false, false, false, false, false, false})));
  }
}

TEST_CASE("InterestMigration: no events at all are no trouble") {
  for (const auto* kind : {"multi_head", "pair"}) {
    InterestMigration model(tiny_schema(), small_migration().attention(kind));
    auto batch = tiny_batch();
    const auto none = model->forward(batch);
    CHECK(none.isfinite().all().item<bool>());
    batch.history = tiny_events().take(torch::tensor({2, 2, 2, 2, 2, 2, 2, 2}));
    CHECK_THAT(model->forward(batch), IsNear(none));
    model->loss(batch).backward();
    CHECK(found(model->explain(batch), "attention").size(2) == 0);
  }
}

TEST_CASE("InterestMigration: a matrix needs training, and scenes that are there") {
  InterestMigration model(tiny_schema(), small_migration());
  CHECK_THROWS_WITH(model->transition_matrix(0, 1), ContainsSubstring("needs a trained model"));
  model->prepare(tiny_table());
  CHECK_THROWS_WITH(model->transition_matrix(0, 2), ContainsSubstring("scenes must be in [0, 2), got 0 and 2"));
  CHECK_THAT(model->transition_matrix(0, 1).sum(1), IsNear(torch::ones({3}), 1e-5));
}

TEST_CASE("InterestMigration: scores of candidates are those of rows with the events of their users") {
  for (const auto* kind : {"multi_head", "pair"}) {
    InterestMigration model(tiny_schema(), small_migration().attention(kind));
    scramble(*model);
    check_scores(*model);
  }
}

TEST_CASE("InterestMigration: wrong options are refused") {
  CHECK_THROWS_WITH(InterestMigration(tiny_schema(), small_migration().attention("single")),
                    ContainsSubstring("InterestMigration: attention must be one of multi_head, pair, got 'single'"));
  CHECK_THROWS_WITH(InterestMigration(tiny_schema(), small_migration().transition("soft")),
                    ContainsSubstring("InterestMigration: transition must be one of softmax, bernoulli, got 'soft'"));
  CHECK_THROWS_WITH(InterestMigration(tiny_schema(), small_migration().dim(0)), ContainsSubstring("must be positive"));
  CHECK_THROWS_WITH(InterestMigration(anonymous_schema()), ContainsSubstring("must name a user and an item column"));
}
