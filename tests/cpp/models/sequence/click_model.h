#pragma once

#include <string>

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"

/// What click models that follow events share: attention over the events that count, scores of candidates like those
/// of rows that carry the events, users and items that must be named.
template <typename Holder, typename Options>
inline void check_click_model(const std::string& name) {
  auto options = Options();
  options.common.events("all");
  Holder every(tiny_schema(), options);
  scramble(*every);
  every->eval();
  const auto found = every->explain(tiny_followed());
  CHECK(found[1].first == "attention");
  CHECK(found[1].second.sizes() == torch::IntArrayRef({8, 3}));
  CHECK_THAT(found[1].second[2], IsNear(torch::zeros({3})));
  CHECK(found[2].first == "events");
  CHECK(found[2].second[1].template item<int64_t>() == 1);

  Holder model(tiny_schema());
  scramble(*model);
  model->eval();
  check_scores(*model);

  CHECK_THROWS_WITH(Holder(anonymous_schema()), StartsWith(name + ": the data must have a user and an item column"));
}
