#include "polyscene/models/sequence/bst.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"
#include "click_model.h"

using namespace polyscene;
using models::BST;
using models::BSTOptions;

TEST_CASE("BST: attention, scores and roles are those of models that follow events") {
  check_click_model<BST, BSTOptions>("BST");
}

TEST_CASE("BST: heads must divide the width") {
  CHECK_THROWS_WITH(BST(tiny_schema(), BSTOptions().heads(7)),
                    StartsWith("BST: heads must divide the width of an event with its position"));
}
