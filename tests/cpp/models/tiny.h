#pragma once

#include "polyscene/data/table.h"

/// Two users, three items, two scenes, one numeric column; rows 0 and 1 of each vocabulary come on top.
inline std::shared_ptr<const polyscene::data::Columns> tiny_columns() {
  auto columns = std::make_shared<polyscene::data::Columns>();
  columns->rows = 8;
  columns->categorical = {"user", "item"};
  columns->codes = torch::tensor({{0, 0}, {0, 1}, {1, 0}, {1, 2}, {0, 2}, {1, 1}, {0, 0}, {1, 2}}, torch::kInt32);
  columns->ids = {polyscene::data::Strings({"u0", "u1"}), polyscene::data::Strings({"i0", "i1", "i2"})};
  columns->numeric = {"price"};
  columns->numbers = torch::arange(8, torch::kFloat32).unsqueeze(1);
  columns->scene = torch::tensor({0, 0, 0, 0, 0, 1, 1, 1}, torch::kInt32);
  columns->scene_names = {"phone", "tablet"};
  columns->label = torch::tensor({1.f, 0.f, 1.f, 0.f, 1.f, 1.f, 0.f, 0.f});
  return columns;
}

/// Fitted on all rows, every id kept. `task` rating has the same labels.
inline std::shared_ptr<const polyscene::data::Schema> tiny_schema(const std::string& task = "ctr") {
  polyscene::data::FitOptions options;
  options.task = task;
  options.user = "user";
  options.item = "item";
  options.min_count = 1;
  const auto columns = tiny_columns();
  return polyscene::data::fit_schema(*columns, torch::arange(columns->rows), options);
}

inline polyscene::data::Table tiny_table(std::shared_ptr<const polyscene::data::Schema> schema = tiny_schema()) {
  return polyscene::data::Table(tiny_columns(), std::move(schema), {}, "train");
}

/// All eight rows in table order, without history.
inline polyscene::data::Batch tiny_batch(std::shared_ptr<const polyscene::data::Schema> schema = tiny_schema()) {
  return tiny_table(std::move(schema)).batch(torch::arange(8), /*grouped=*/false, /*history=*/0);
}
