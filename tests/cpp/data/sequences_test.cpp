#include "polyscene/data/sequences.h"

#include "../models/sequence/tiny_sequences.h"
#include "catch.h"
#include "polyscene/data/window_batches.h"

using namespace polyscene;

TEST_CASE("Sequences: a row sees earlier events of its own and of earlier parts") {
  const auto table = sequence_table();
  const auto seen = table.sequences()->before({0, 6, 7, 8, 1}, 3);
  CHECK(seen.values.equal(torch::tensor({0, 2, 3, 2, 3, 6}, torch::kInt64)));
  CHECK(seen.offsets.equal(torch::tensor({0, 0, 3, 6, 6, 6}, torch::kInt64)));
  CHECK(table.sequences()->size() == 9);
}

TEST_CASE("Sequences: windows cover what follows once") {
  const auto table = sequence_table();
  const auto windows = data::windows_of(table, 2);
  CHECK(windows.position.equal(torch::tensor({6, 2, 5}, torch::kInt64)));
  CHECK(windows.length.equal(torch::tensor({2, 1, 2}, torch::kInt32)));
  data::WindowBatches batches(table, windows, 2, 2, 1, 1);
  CHECK(batches.count() == 2);
  int64_t rows = 0, events = 0;
  while (const auto batch = batches.next()) {
    rows += batch->size();
    events += batch->next_item.numel();
  }
  CHECK(rows == 3);
  CHECK(events == 5);
}

TEST_CASE("Sequences: windows within a scene hold the events of that scene alone") {
  const auto table = sequence_table();
  const auto windows = data::windows_of(table, 2, /*within_scene=*/true);
  CHECK(windows.position.equal(torch::tensor({3, 6, 5}, torch::kInt64)));
  CHECK(windows.length.equal(torch::tensor({2, 2, 1}, torch::kInt32)));  // with what lies between
  data::WindowBatches batches(table, windows, 2, 3, 1, 1, /*within_scene=*/true);
  const auto batch = batches.next();
  REQUIRE(batch);
  CHECK(batch->history.scene.equal(batch->scene));  // one event before each
  CHECK(batch->next_item.equal(batch->item));
  CHECK(batch->next_scene.equal(batch->scene));
}

TEST_CASE("Sequences: a row of two parts is refused") {
  const auto rows = torch::arange(3);
  CHECK_THROWS_WITH(data::Sequences(sequence_columns(), 0, {rows, rows}),
                    ContainsSubstring("Sequences: row 0 is in two parts"));
  CHECK_THROWS_WITH(data::Sequences(sequence_columns(), 2, {rows}),
                    ContainsSubstring("Sequences: user must be a categorical column, in [0, 2), got 2"));
}

TEST_CASE("Events: views, gaps and joins") {
  data::Events events;
  events.offsets = torch::tensor({0, 3, 3, 5}, torch::kInt64);
  events.item = torch::tensor({2, 3, 4, 5, 6}, torch::kInt32);
  events.scene = torch::tensor({0, 1, 0, 1, 1}, torch::kInt64);
  events.label = torch::ones({5});
  events.time = torch::tensor({10, 15, 15, 3, 7}, torch::kInt64);
  CHECK(events.gaps().equal(torch::tensor({0, 5, 0, 0, 4}, torch::kInt64)));
  const auto view = events.of_scene(0);
  CHECK(view.item.equal(torch::tensor({2, 4}, torch::kInt32)));
  CHECK(view.offsets.equal(torch::tensor({0, 2, 2, 2}, torch::kInt64)));
  const auto both = data::joined(view, events);
  CHECK(both.item.equal(torch::tensor({2, 4, 2, 3, 4, 5, 6}, torch::kInt32)));
  CHECK(both.offsets.equal(torch::tensor({0, 5, 5, 7}, torch::kInt64)));
}
