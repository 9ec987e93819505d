#include "polyscene/models/scene/sar_net.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::SARNet;
using models::SARNetOptions;

TEST_CASE("SARNet: gates are over shared and own experts") {
  SARNet model(tiny_schema(), SARNetOptions().shared(3).specific(2));
  scramble(*model);
  const auto found = model->explain(tiny_batch());
  CHECK(found.size() == 2);
  CHECK(found[1].first == "gates");
  CHECK(found[1].second.sizes() == torch::IntArrayRef({8, 5}));
  CHECK_THAT(found[1].second.sum(1), IsNear(torch::ones({8}), 1e-6));
  CHECK(model->history_length() == 0);
}

TEST_CASE("SARNet: a single event has all the weight of scene and item") {
  SARNet model(tiny_schema(), SARNetOptions().attention(true).max_length(7));
  CHECK(model->history_length() == 7);
  scramble(*model);
  const auto found = model->explain(tiny_followed());
  CHECK(found[2].first == "attention");
  CHECK(found[2].second.sizes() == torch::IntArrayRef({8, 2, 3}));
  CHECK_THAT(found[2].second[1], IsNear(torch::tensor({{1.f, 0.f, 0.f}, {1.f, 0.f, 0.f}}), 1e-6));
  CHECK_THAT(found[2].second[2], IsNear(torch::zeros({2, 3})));
}

TEST_CASE("SARNet: scores of candidates are those of rows with the events of their users") {
  SARNet model(tiny_schema(), SARNetOptions().attention(true));
  scramble(*model);
  model->eval();
  check_scores(*model);
}

TEST_CASE("SARNet: data without users and items have no events to attend to") {
  SARNet model(anonymous_schema(), SARNetOptions().attention(true));
  CHECK(model->history_length() == 0);
  CHECK(model->forward(tiny_batch(anonymous_schema())).sizes() == torch::IntArrayRef({8}));
  CHECK_THROWS_WITH(SARNet(anonymous_schema(), SARNetOptions().fairness(1)),
                    StartsWith("SARNet: fairness needs a user and an item column"));
}

TEST_CASE("SARNet: an item shown as often in all scenes is not weighed") {
  SARNet model(tiny_schema(), SARNetOptions().fairness(1));
  model->prepare(tiny_table());
  // Rows of the items 2, 3, 4 of the vocabulary: 2, 2, 1 of 5 in scene 0, one each in scene 1; 3, 3, 2 of 8 in all.
  const auto f = [](double count, double rows, double share) {
    return std::min(1.0, share / ((count + 10 * share) / (rows + 10)));
  };
  const double a = 3.0 / 8, b = 2.0 / 8;
  const auto wanted =
      torch::tensor({1., 1., f(2, 5, a), f(2, 5, a), f(1, 5, b), 1., 1., f(1, 3, a), f(1, 3, a), f(1, 3, b)});
  CHECK_THAT(model->coefficient.flatten().to(torch::kFloat64), IsNear(wanted.to(torch::kFloat64), 1e-6));
}
