#include "polyscene/nn/scene_groups.h"

#include "catch.h"

using namespace polyscene;
using nn::SceneGroups;

namespace {

data::Batch batch_of(std::vector<int64_t> scene) {
  const auto rows = static_cast<int64_t>(scene.size());
  data::Batch batch;
  batch.scene = torch::tensor(scene, torch::kInt64);
  batch.categorical = torch::arange(rows, torch::kInt32).unsqueeze(1);
  batch.numeric = torch::empty({rows, 0});
  batch.row = torch::arange(rows);
  return batch;
}

}  // namespace

TEST_CASE("group: rows of a scene stay in their order, empty scenes have none, and the way back is kept") {
  const auto grouped = nn::group(batch_of({3, 1, 3, 0, 1, 3}), 5);
  CHECK(grouped.groups.offsets == std::vector<int64_t>{0, 1, 3, 3, 6, 6});
  CHECK(grouped.groups.scenes() == 5);
  CHECK(grouped.groups.rows() == 6);
  CHECK(grouped.groups.rows(2) == 0);
  CHECK(grouped.groups.rows(3) == 3);
  CHECK(grouped.batch.row.equal(torch::tensor({3, 1, 4, 0, 2, 5})));
  CHECK(grouped.ungroup(grouped.batch.row).equal(torch::arange(6)));
  CHECK(grouped.ungroup(grouped.batch.scene.unsqueeze(1)).equal(torch::tensor({3, 1, 3, 0, 1, 3}).unsqueeze(1)));
}

TEST_CASE("group: rows in order are not copied") {
  const auto batch = batch_of({0, 0, 2});
  const auto grouped = nn::group(batch, 3);
  CHECK(grouped.groups.offsets == std::vector<int64_t>{0, 2, 2, 3});
  CHECK_FALSE(grouped.back.defined());
  CHECK(grouped.batch.categorical.is_same(batch.categorical));
  CHECK(grouped.ungroup(batch.row).is_same(batch.row));
}

TEST_CASE("group: offsets that a batch brings are taken") {
  auto batch = batch_of({0, 0, 2});
  batch.scene_offsets = torch::tensor({0, 2, 2, 3});
  const auto grouped = nn::group(batch, 3);
  CHECK(grouped.groups.offsets == std::vector<int64_t>{0, 2, 2, 3});
  CHECK_FALSE(grouped.back.defined());
}

TEST_CASE("group: no rows, one row, one scene") {
  CHECK(nn::group(batch_of({}), 2).groups.offsets == std::vector<int64_t>{0, 0, 0});
  CHECK(nn::group(batch_of({1}), 2).groups.offsets == std::vector<int64_t>{0, 0, 1});
  CHECK(nn::group(batch_of({0, 0}), 1).groups.offsets == std::vector<int64_t>{0, 2});
  CHECK(SceneGroups::all(7).offsets == std::vector<int64_t>{0, 7});
  CHECK(SceneGroups{}.rows() == 0);
}

TEST_CASE("group: a scene outside names its row") {
  CHECK_THROWS_AS(nn::group(batch_of({0, 2}), 2), c10::IndexError);
  CHECK_THROWS_WITH(nn::group(batch_of({0, 2}), 2), StartsWith("group: scenes are 0..1, got 2 in batch row 1"));
  CHECK_THROWS_WITH(nn::group(batch_of({-1}), 2), StartsWith("group: scenes are 0..1, got -1 in batch row 0"));
}
