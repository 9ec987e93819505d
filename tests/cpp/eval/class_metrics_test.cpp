#include "polyscene/eval/class_metrics.h"

#include "catch.h"

using namespace polyscene::eval;

TEST_CASE("evaluate_classes: macro figures of three classes by hand, a tie goes to the first class") {
  // rows called 0 1 0 1 (the third by a tie); labels 0 1 1 2
  const auto logits = torch::tensor({{2., 0., 0.}, {0., 2., 0.}, {1., 1., 0.}, {0., 3., 0.}});
  const auto label = torch::tensor({0., 1., 1., 2.}), scene = torch::tensor({0, 0, 1, 1}, torch::kInt64);
  const auto out = evaluate_classes(logits, label, scene, {"a", "b", "c"}, {});
  CHECK_THAT(out.overall.at("accuracy"), WithinAbs(0.5, 1e-12));
  CHECK_THAT(out.overall.at("precision"), WithinAbs((0.5 + 0.5 + 0) / 3, 1e-12));
  CHECK_THAT(out.overall.at("recall"), WithinAbs((1 + 0.5 + 0) / 3, 1e-12));
  CHECK_THAT(out.overall.at("f1"), WithinAbs((2.0 / 3 + 0.5 + 0) / 3, 1e-12));
  // scene a has and is given classes 0 and 1 alone
  CHECK(out.scenes.at("a").at("f1") == 1);
  CHECK(out.scenes.at("b").at("f1") == 0);
  CHECK_THAT(out.macro.at("f1"), WithinAbs(0.5, 1e-12));
  CHECK(std::isnan(out.scenes.at("c").at("f1")));
  CHECK(out.undefined.at("scenes.c.log_loss") == "no rows");
  CHECK(out.rows == std::map<std::string, int64_t>{{"a", 2}, {"b", 2}, {"c", 0}});
}

TEST_CASE("evaluate_classes: a row of weight 2 counts as two rows") {
  const auto logits = torch::tensor({{0., 1.}, {1., 0.}, {0., 3.}});
  const auto twice = torch::tensor({0, 0, 1, 2}, torch::kInt64);
  const auto label = torch::tensor({1., 1., 0.}), scene = torch::zeros({3}, torch::kInt64);
  const auto weighed = evaluate_classes(logits, label, scene, {"a"}, {.weight = torch::tensor({2., 1., 1.})});
  const auto repeated = evaluate_classes(logits.index_select(0, twice), label.index_select(0, twice),
                                         scene.index_select(0, twice), {"a"}, {});
  for (const auto& [metric, value] : weighed.overall) {
    CHECK_THAT(value, WithinAbs(repeated.overall.at(metric), 1e-12));
  }
}

TEST_CASE("evaluate_classes: exact words for what does not fit") {
  const auto logits = torch::zeros({2, 3});
  const auto label = torch::tensor({0., 1.}), scene = torch::zeros({2}, torch::kInt64);
  CHECK_THROWS_WITH(evaluate_classes(label, label, scene, {"a"}, {}),
                    StartsWith("evaluate_classes: logits must be [N, C], got [2]"));
  CHECK_THROWS_WITH(evaluate_classes(logits, label + 2, scene, {"a"}, {}),
                    StartsWith("evaluate_classes: labels must be whole numbers below 3, got 3 in row 1"));
  CHECK_THROWS_WITH(evaluate_classes(logits, label, scene + 1, {"a"}, {}),
                    StartsWith("evaluate_classes: row 0 is of scene 1, but there are 1 scenes"));
  CHECK_THROWS_WITH(evaluate_classes(logits, label.slice(0, 1), scene, {"a"}, {}),
                    StartsWith("evaluate_classes: label must have one entry a row (2), got 1"));
}
