#include "polyscene/models/sequence/bst.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::BST;
using models::BSTOptions;

TEST_CASE("BST: attention is over the events that count") {
  auto options = BSTOptions();
  options.common.events("all");
  BST model(tiny_schema(), options);
  scramble(*model);
  model->eval();
  const auto found = model->explain(tiny_followed());
  CHECK(found[1].first == "attention");
  CHECK(found[1].second.sizes() == torch::IntArrayRef({8, 3}));
  CHECK_THAT(found[1].second[2], IsNear(torch::zeros({3})));
  CHECK(found[2].first == "events");
  CHECK(found[2].second[1].item<int64_t>() == 1);
}

TEST_CASE("BST: scores of candidates are those of rows with the events of their users") {
  BST model(tiny_schema());
  scramble(*model);
  model->eval();
  check_scores(*model);
}

TEST_CASE("BST: users and items must be named") {
  CHECK_THROWS_WITH(BST(anonymous_schema()), StartsWith("BST: the data must have a user and an item column"));
}

TEST_CASE("BST: heads must divide the width") {
  CHECK_THROWS_WITH(BST(tiny_schema(), BSTOptions().heads(7)),
                    StartsWith("BST: heads must divide the width of an event with its position"));
}
