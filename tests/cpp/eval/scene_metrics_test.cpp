#include "polyscene/eval/scene_metrics.h"

#include "catch.h"
#include "polyscene/eval/metrics.h"

using namespace polyscene::eval;
using torch::Tensor;

namespace {

Tensor f(std::vector<double> values) { return torch::tensor(values, torch::kFloat32); }
Tensor n(std::vector<int64_t> values) { return torch::tensor(values, torch::kInt64); }

}  // namespace

TEST_CASE("evaluate_scores: overall pools the rows, macro is the mean over scenes where the metric is defined") {
  // scene a: AUC 1; scene b: AUC 0; scene c: one class; scene d: empty
  const auto out = evaluate_scores(f({1, 2, 8, 7, 5}), f({0, 1, 0, 1, 1}), n({0, 0, 1, 1, 2}), {"a", "b", "c", "d"},
                                   {.metrics = {"auc", "accuracy"}});
  CHECK(out.scenes.at("a").at("auc") == 1);
  CHECK(out.scenes.at("b").at("auc") == 0);
  CHECK(std::isnan(out.scenes.at("c").at("auc")));
  CHECK(out.macro.at("auc") == 0.5);
  CHECK_THAT(out.overall.at("auc"), WithinAbs(0.5, 1e-12));
  CHECK_THAT(out.overall.at("accuracy"), WithinAbs(0.6, 1e-12));
  CHECK_THAT(out.macro.at("accuracy"), WithinAbs(2.0 / 3, 1e-12));
  CHECK(out.rows == std::map<std::string, int64_t>{{"a", 2}, {"b", 2}, {"c", 1}, {"d", 0}});
  CHECK(out.undefined == std::map<std::string, std::string>{{"scenes.c.auc", "one class"},
                                                            {"scenes.d.auc", "no rows"},
                                                            {"scenes.d.accuracy", "no rows"}});
}

TEST_CASE("evaluate_scores: unknown and missing users stay out of gauc") {
  const auto run = [](std::vector<int64_t> users) {
    return evaluate_scores(f({1, 2, 8, 7}), f({0, 1, 0, 1}), n({0, 0, 0, 0}), {"a"}, {.user = n(users)});
  };
  CHECK(run({2, 2, 3, 3}).overall.at("gauc") == 0.5);
  CHECK(run({2, 2, 0, 0}).overall.at("gauc") == 1);
  CHECK(run({0, 0, 1, 1}).undefined.at("overall.gauc") == "no user with both classes");
  CHECK(run({0, 0, 1, 1}).undefined.at("macro.gauc") == "undefined in every scene");
  const auto without = evaluate_scores(f({1}), f({1}), n({0}), {"a"}, {.metrics = {"gauc", "coverage"}});
  CHECK(without.undefined.at("overall.gauc") == "no users");
  CHECK(without.undefined.at("overall.coverage") == "no items");
}

TEST_CASE("evaluate_scores: each scene has what its rows alone have, whatever the threads") {
  torch::manual_seed(4);
  const int64_t rows = 4000;
  const auto logits = torch::randn({rows}).mul(4).round() / 4;
  const auto label = (torch::rand({rows}) < logits.sigmoid()).to(torch::kFloat32);
  const auto scene = torch::randint(5, {rows}, torch::kInt64), user = torch::randint(2, 90, {rows}, torch::kInt64);
  const auto weight = torch::rand({rows});
  const auto run = [&](int threads) {
    const int before = torch::get_num_threads();
    torch::set_num_threads(threads);
    auto out = evaluate_scores(logits, label, scene, {"a", "b", "c", "d", "e"},
                               {.user = user, .item = user, .weight = weight, .threshold = 0.4});
    torch::set_num_threads(before);
    return out;
  };
  const auto one = run(1), two = run(2);
  CHECK(one.overall == two.overall);
  CHECK(one.macro == two.macro);
  CHECK(one.scenes == two.scenes);
  CHECK(one.metrics.size() == 8);
  const auto at = (scene == 3).nonzero().squeeze(1);
  const auto x = logits.index_select(0, at), y = label.index_select(0, at), w = weight.index_select(0, at);
  const auto& found = one.scenes.at("d");
  CHECK(found.at("auc") == auc(x, y, w).value);
  CHECK(found.at("gauc") == gauc(x, y, user.index_select(0, at), w).value);
  CHECK(found.at("log_loss") == log_loss(x, y, w).value);
  CHECK(found.at("f1") == confusion(x, y, 0.4, w).f1().value);
  CHECK(found.at("coverage") == coverage(x, user.index_select(0, at), 0.4).value);
}

TEST_CASE("evaluate_scores: ratings have errors, not classes") {
  const auto out = evaluate_scores(f({3, 4}), f({5, 4}), n({0, 1}), {"a", "b"}, {.task = "rating"});
  CHECK(out.metrics == std::vector<std::string>{"rmse", "mae"});
  CHECK_THAT(out.overall.at("rmse"), WithinAbs(std::sqrt(2), 1e-12));
  CHECK(out.macro.at("mae") == 1);
}

TEST_CASE("evaluate_scores: bad input is refused") {
  const auto run = [](const ScoreOptions& options, const Tensor& label, const Tensor& scene) {
    return evaluate_scores(f({1, 2}), label, scene, {"a"}, options);
  };
  CHECK_THROWS_WITH(run({.metrics = {"accurracy"}}, f({0, 1}), n({0, 0})),
                    StartsWith("unknown metric 'accurracy' for task ctr; known metrics: auc, gauc, log_loss, accuracy, "
                               "precision, recall, f1, coverage; did you mean 'accuracy'?"));
  CHECK_THROWS_WITH(run({}, f({0, 2}), n({0, 0})),
                    StartsWith("evaluate_scores: labels must be 0 or 1, got 2 in row 1"));
  CHECK_THROWS_WITH(run({}, f({0, 1}), n({0, 1})),
                    StartsWith("evaluate_scores: row 1 is of scene 1, but there are 1 scenes"));
  CHECK_THROWS_WITH(run({}, f({0, 1}), n({0})), StartsWith("evaluate_scores: scene must have one entry per logit (2)"));
  CHECK_THROWS_WITH(run({.task = "sound"}, f({0, 1}), n({0, 0})),
                    StartsWith("evaluate_scores: task must be ctr, rating, text or image, got 'sound'"));
  CHECK_THROWS_WITH(evaluate_scores(f({NAN}), f({1}), n({0}), {"a"}), StartsWith("metrics: the logit of row 0 is NaN"));
}
