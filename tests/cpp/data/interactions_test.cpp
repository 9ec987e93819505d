#include "polyscene/data/interactions.h"

#include "../models/cross/tiny_ranking.h"
#include "catch.h"

using namespace polyscene;

TEST_CASE("interactions: every pair once, in both directions, without those of nobody") {
  const auto schema = tiny_ranking_schema();
  const auto user = torch::tensor({3, 2, 3, 3, 1, 2, 2}), item = torch::tensor({4, 2, 2, 4, 2, 0, 3}),
             scene = torch::tensor({0, 0, 0, 0, 0, 0, 1});
  const data::Interactions known(*schema, user, item, scene);
  CHECK(known.pairs() == 4);
  const auto& here = known.scene(0);
  CHECK(here.user_offsets.equal(torch::tensor({0, 0, 0, 1, 3})));
  CHECK(here.items.equal(torch::tensor({2, 2, 4}, torch::kInt32)));
  CHECK(here.item_offsets.equal(torch::tensor({0, 0, 0, 2, 2, 3})));
  CHECK(here.users.equal(torch::tensor({2, 3, 3}, torch::kInt32)));
  CHECK(here.candidates.equal(torch::tensor({2, 4})));
  CHECK(here.visitors.equal(torch::tensor({2, 3})));
  CHECK(here.contains(3, 4));
  CHECK_FALSE(here.contains(2, 4));
  CHECK(here.degree(3) == 2);
  CHECK(known.pooled().items.equal(torch::tensor({2, 3, 2, 4}, torch::kInt32)));
}

TEST_CASE("interactions: rows outside the vocabularies are refused") {
  const auto schema = tiny_ranking_schema();
  const auto one = [](int64_t value) { return torch::tensor({value}); };
  CHECK_THROWS_WITH(data::Interactions(*schema, one(9), one(2), one(0)),
                    ContainsSubstring("user must be in [0, 4), got 9 to 9"));
  CHECK_THROWS_WITH(data::Interactions(*schema, one(2), one(-1), one(0)),
                    ContainsSubstring("item must be in [0, 5), got -1 to -1"));
  CHECK_THROWS_WITH(data::Interactions(*schema, one(2), one(2), one(2)),
                    ContainsSubstring("scene must be in [0, 2), got 2 to 2"));
}
