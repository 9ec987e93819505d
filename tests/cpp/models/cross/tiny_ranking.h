#pragma once

#include "../tiny.h"

/// Eight rows of two users and three items in two scenes; `tiny_batch` of them, each with one drawn item.
inline std::shared_ptr<const polyscene::data::Schema> tiny_ranking_schema() {
  auto schema = std::make_shared<polyscene::data::Schema>(*tiny_schema());
  schema->task = "ranking";
  return schema;
}

inline polyscene::data::Batch tiny_ranking_batch(const std::shared_ptr<const polyscene::data::Schema>& schema) {
  auto batch = tiny_batch(schema);
  batch.negative = (batch.item - 2 + 1).remainder(3).unsqueeze(1) + 2;
  return batch;
}
