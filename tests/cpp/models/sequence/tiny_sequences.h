#pragma once

#include <memory>

#include "polyscene/data/table.h"

/// The source of rows of two users in two scenes: u0 meets i0, i1, i2, i3, u1 meets i3, i2, i0; rows 7 and 8 are
/// further ones of u0 and of u2, whom training does not know. Even items are of scene "phone", odd ones of "tablet".
inline std::shared_ptr<const polyscene::data::Columns> sequence_columns() {
  auto columns = std::make_shared<polyscene::data::Columns>();
  columns->rows = 9;
  columns->categorical = {"user", "item"};
  columns->codes =
      torch::tensor({{0, 0}, {1, 3}, {0, 1}, {0, 2}, {1, 2}, {1, 0}, {0, 3}, {0, 0}, {2, 1}}, torch::kInt32);
  columns->ids = {polyscene::data::Strings({"u0", "u1", "u2"}), polyscene::data::Strings({"i0", "i1", "i2", "i3"})};
  columns->numbers = torch::empty({9, 0});
  columns->scene = columns->codes.select(1, 1).remainder(2).to(torch::kInt32).contiguous();
  columns->scene_names = {"phone", "tablet"};
  return columns;
}

/// Rows 0 to 6 as a training table that knows the order of events; row 7 tests, row 8 is context.
inline polyscene::data::Table sequence_table() {
  using namespace polyscene::data;
  const auto columns = sequence_columns();
  FitOptions options;
  options.task = "sequence";
  options.user = "user";
  options.item = "item";
  options.min_count = 1;
  const auto rows = torch::arange(7);
  Table out(columns, fit_schema(*columns, rows, options), rows, "train");
  out.set_sequences(
      std::make_shared<Sequences>(columns, 0,
                                  std::array<torch::Tensor, 4>{rows, torch::Tensor(), torch::tensor({7}, torch::kInt64),
                                                               torch::tensor({8}, torch::kInt64)}));
  out.set_history(History::fit(out));
  return out;
}
