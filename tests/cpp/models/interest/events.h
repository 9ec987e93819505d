#pragma once

#include "../tiny.h"
#include "catch.h"
#include "polyscene/models/base.h"

/// Events of the eight tiny rows: three for row 0, one for row 1, two for row 5, none for the others.
inline polyscene::data::Events tiny_events() {
  polyscene::data::Events events;
  events.offsets = torch::tensor({0, 3, 4, 4, 4, 4, 6, 6, 6}, torch::kInt64);
  events.item = torch::tensor({2, 3, 4, 2, 4, 3}, torch::kInt32);
  events.scene = torch::tensor({0, 1, 0, 0, 1, 1}, torch::kInt64);
  events.label = torch::tensor({1.f, 0.f, 1.f, 1.f, 0.f, 1.f});
  events.time = torch::arange(6, torch::kInt64);
  return events;
}

/// The eight rows with these events.
inline polyscene::data::Batch tiny_followed(std::shared_ptr<const polyscene::data::Schema> schema = tiny_schema()) {
  auto batch = tiny_batch(std::move(schema));
  batch.history = tiny_events();
  return batch;
}

/// The tiny schema with one scene only.
inline std::shared_ptr<const polyscene::data::Schema> one_scene_schema() {
  auto columns = std::make_shared<polyscene::data::Columns>(*tiny_columns());
  columns->scene = torch::zeros({8}, torch::kInt32);
  columns->scene_names = {"phone"};
  polyscene::data::FitOptions options;
  options.user = "user";
  options.item = "item";
  options.min_count = 1;
  return polyscene::data::fit_schema(*columns, torch::arange(columns->rows), options);
}

/// The tiny schema without a user and an item column.
inline std::shared_ptr<const polyscene::data::Schema> anonymous_schema() {
  polyscene::data::FitOptions options;
  options.min_count = 1;
  const auto columns = tiny_columns();
  return polyscene::data::fit_schema(*columns, torch::arange(columns->rows), options);
}

/// Moves every parameter away from its start, so that nothing is 0 or symmetric.
inline void scramble(torch::nn::Module& model, double std = 0.3) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(5);
  for (auto& parameter : model.parameters()) parameter.add_(torch::randn_like(parameter) * std);
}

/// `score` gives users' events once and candidates many times; `forward` on rows that each carry them must agree.
inline void check_scores(polyscene::models::Model& model) {
  const auto users = tiny_events().take(torch::tensor({0, 1, 2, 5}));  // three, one, no and two events
  const auto owner = torch::tensor({3, 0, 0, 1, 2, 2, 3, 1}, torch::kInt64);
  auto batch = tiny_batch();
  const auto scores = model.score(batch, users, owner);
  batch.history = users.take(owner);
  CHECK_THAT(scores, IsNear(model.forward(batch), 1e-5));
  // Nobody has an event.
  const auto nothing = tiny_events().take(torch::tensor({2, 3, 4, 6}));
  CHECK_THAT(model.score(tiny_batch(), nothing, owner), IsNear(model.forward(tiny_batch()), 1e-5));
}
