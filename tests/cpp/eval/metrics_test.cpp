#include "polyscene/eval/metrics.h"

#include "catch.h"
#include "polyscene/eval/order.h"

using namespace polyscene::eval;
using torch::Tensor;

namespace {

Tensor d(std::vector<double> values) { return torch::tensor(values, torch::kFloat64); }

Tensor logits_of(const Tensor& p) { return (p / (1 - p)).log(); }

// Every pair of a positive and a negative, as the definition says.
double slow_auc(const Tensor& score, const Tensor& label, const Tensor& weight) {
  double right = 0, pairs = 0;
  for (int64_t i = 0; i < score.numel(); ++i) {
    for (int64_t j = 0; j < score.numel(); ++j) {
      if (label[i].item<double>() != 1 || label[j].item<double>() != 0) continue;
      const double w = weight[i].item<double>() * weight[j].item<double>();
      const double a = score[i].item<double>(), b = score[j].item<double>();
      right += w * (a > b ? 1 : a == b ? 0.5 : 0);
      pairs += w;
    }
  }
  return right / pairs;
}

}  // namespace

TEST_CASE("auc: hand-computed values, ties count one half") {
  const auto label = d({0, 0, 1, 1});
  CHECK(auc(d({0.1, 0.4, 0.35, 0.8}), label).value == 0.75);
  CHECK(auc(d({1, 1, 1, 1}), label).value == 0.5);
  CHECK(auc(d({1, 2, 2, 3}), label).value == 0.875);
  CHECK(auc(d({3, 2, 1, 0}), label).value == 0);
  CHECK(auc(d({-INFINITY, -1, 1, INFINITY}), label).value == 1);
}

TEST_CASE("auc: equals the sum over pairs, with weights, ties and both number types") {
  torch::manual_seed(1);
  for (const int64_t n : {50, 300}) {
    const auto score = torch::randint(-8, 8, {n}).to(torch::kFloat64) / 8;
    const auto label = (torch::rand({n}) < 0.4).to(torch::kFloat64);
    const auto weight = torch::randint(0, 4, {n}).to(torch::kFloat64);
    const double wanted = slow_auc(score, label, weight);
    CHECK_THAT(auc(score, label, weight).value, WithinAbs(wanted, 1e-12));
    CHECK_THAT(auc(score.to(torch::kFloat32), label.to(torch::kFloat32), weight).value, WithinAbs(wanted, 1e-12));
    CHECK_THAT(auc(score / 3, label, weight).value, WithinAbs(wanted, 1e-12));
  }
}

TEST_CASE("ascending_order: sorts as a stable sort does, short and long, float32 and float64") {
  for (const double scale : {1.0, 1.0 / 3}) {
    for (const int64_t n : {0, 1, 100, 5000}) {
      const auto score = torch::randn({n}).mul(4).round().to(torch::kFloat64) * scale;
      const auto order = ascending_order(score.data_ptr<double>(), n);
      const auto wanted = std::get<1>(torch::sort(score, /*stable=*/true, 0, false));
      for (int64_t i = 0; i < n; ++i) REQUIRE(order[i] == wanted[i].item<int64_t>());
    }
  }
}

TEST_CASE("auc: one class and no rows are undefined, never one half") {
  CHECK(std::isnan(auc(d({1, 2}), d({1, 1})).value));
  CHECK(auc(d({1, 2}), d({1, 1})).reason == "one class");
  CHECK(auc(d({1, 2}), d({0, 1}), d({0, 1})).reason == "one class");
  CHECK(auc(d({}), d({})).reason == "no rows");
}

TEST_CASE("gauc: users weigh by their rows; one-class and negative users are left out") {
  // user 0: 3 rows, AUC 1; user 1: 2 rows, AUC 0; user 2: one class; user -1: nobody
  const auto score = d({1, 2, 3, 5, 4, 9, 9, 0, 1});
  const auto label = d({0, 0, 1, 0, 1, 1, 1, 1, 0});
  const auto user = torch::tensor({0, 0, 0, 1, 1, 2, 2, -1, -1}, torch::kInt64);
  CHECK_THAT(gauc(score, label, user).value, WithinAbs(0.6, 1e-12));
  const auto weight = d({1, 1, 1, 2, 1, 1, 1, 1, 1});
  CHECK_THAT(gauc(score, label, user, weight).value, WithinAbs(0.5, 1e-12));
  CHECK(gauc(d({1, 2}), d({0, 1}), torch::tensor({0, 1}, torch::kInt64)).reason == "no user with both classes");
}

TEST_CASE("log_loss: stable far from zero") {
  CHECK_THAT(log_loss(d({0, 0}), d({0, 1})).value, WithinAbs(std::log(2), 1e-12));
  CHECK_THAT(log_loss(d({1000, -1000}), d({1, 1})).value, WithinAbs(500, 1e-12));
  CHECK_THAT(log_loss(logits_of(d({0.8, 0.3})), d({1, 1}), d({3, 1})).value,
             WithinAbs(-(3 * std::log(0.8) + std::log(0.3)) / 4, 1e-12));
  CHECK(log_loss(d({INFINITY}), d({1})).value == 0);
  CHECK(log_loss(d({INFINITY, 0}), d({0, 0}), d({0, 1})).value == std::log(2));
  CHECK(log_loss(d({1}), d({1}), d({0})).reason == "no weight");
}

TEST_CASE("confusion: all four metrics from the table of counts") {
  // called: p >= 0.5 -> 1 1 1 0 0 0
  const auto p = logits_of(d({0.9, 0.6, 0.5, 0.4, 0.2, 0.1}));
  const auto label = d({1, 1, 0, 1, 0, 0});
  const auto counts = confusion(p, label);
  CHECK(counts.true_positive == 2);
  CHECK(counts.false_positive == 1);
  CHECK(counts.false_negative == 1);
  CHECK(counts.true_negative == 2);
  CHECK_THAT(counts.accuracy().value, WithinAbs(4.0 / 6, 1e-12));
  CHECK_THAT(counts.precision().value, WithinAbs(2.0 / 3, 1e-12));
  CHECK_THAT(counts.recall().value, WithinAbs(2.0 / 3, 1e-12));
  CHECK_THAT(counts.f1().value, WithinAbs(2.0 / 3, 1e-12));
  CHECK_THAT(confusion(p, label, 0.55, d({1, 2, 1, 1, 1, 1})).precision().value, WithinAbs(1, 1e-12));
}

TEST_CASE("confusion: precision .88 and recall .92 make F1 .8996") {
  Confusion counts;
  counts.true_positive = 88 * 92;
  counts.false_positive = 12 * 92;
  counts.false_negative = 88 * 8;
  CHECK_THAT(counts.precision().value, WithinAbs(0.88, 1e-12));
  CHECK_THAT(counts.recall().value, WithinAbs(0.92, 1e-12));
  CHECK_THAT(counts.f1().value, WithinAbs(0.89956, 1e-5));
}

TEST_CASE("confusion: what is undefined says why") {
  const auto nothing_called = confusion(d({-1, -2}), d({1, 0}));
  CHECK(nothing_called.precision().reason == "no positive predictions");
  CHECK(nothing_called.recall().value == 0);
  CHECK(nothing_called.f1().value == 0);
  CHECK(confusion(d({1, -2}), d({0, 0})).recall().reason == "no positive labels");
  CHECK(confusion(d({-1, -2}), d({0, 0})).f1().reason == "no positives");
  CHECK(confusion(d({}), d({})).accuracy().reason == "no rows");
}

TEST_CASE("rmse, mae: hand-computed values") {
  CHECK_THAT(rmse(d({1, 2, 5}), d({1, 4, 4})).value, WithinAbs(std::sqrt(5.0 / 3), 1e-12));
  CHECK_THAT(mae(d({1, 2, 5}), d({1, 4, 4})).value, WithinAbs(1, 1e-12));
  CHECK_THAT(mae(d({1, 2, 5}), d({1, 4, 4}), d({0, 1, 3})).value, WithinAbs(1.25, 1e-12));
  CHECK(rmse(d({}), d({})).reason == "no rows");
}

TEST_CASE("coverage: items that are called positive at least once") {
  const auto item = torch::tensor({7, 7, 8, 9}, torch::kInt64);
  CHECK_THAT(coverage(d({-1, 1, -1, 2}), item).value, WithinAbs(2.0 / 3, 1e-12));
  CHECK(coverage(d({-1, 1, -1, 2}), item, 0.99).value == 0);
  CHECK(coverage(d({-1, 1}), torch::tensor({3, -1}, torch::kInt64)).value == 0);
  CHECK(coverage(d({1}), torch::tensor({-1}, torch::kInt64)).reason == "no items");
}

TEST_CASE("best_threshold: the best F1 of all cuts, halfway between two probabilities") {
  const auto p = d({0.9, 0.7, 0.6, 0.3, 0.1});
  CHECK_THAT(best_threshold(logits_of(p), d({1, 0, 1, 0, 0})).value, WithinAbs(0.45, 1e-12));
  CHECK_THAT(best_threshold(logits_of(p), d({1, 0, 0, 0, 0})).value, WithinAbs(0.8, 1e-12));
  CHECK_THAT(best_threshold(logits_of(p), d({1, 1, 1, 1, 1})).value, WithinAbs(0.05, 1e-12));
  CHECK(best_threshold(d({1, 2}), d({0, 0})).reason == "no positive labels");
  CHECK(confusion(d({40, 50, 60}), d({0, 1, 1}), best_threshold(d({40, 50, 60}), d({0, 1, 1})).value).f1().value ==
        0.8);
}

TEST_CASE("roc: corners only, thinned out, and the area is the AUC") {
  const auto curve = roc(d({4, 3, 2, 1}), d({1, 1, 0, 0}));
  CHECK(curve.false_positive_rate == std::vector<double>{0, 0, 1});
  CHECK(curve.true_positive_rate == std::vector<double>{0, 1, 1});
  CHECK(curve.threshold == std::vector<double>{INFINITY, 3, 1});
  torch::manual_seed(2);
  const auto score = torch::randn({4000}, torch::kFloat64);
  const auto label = (torch::rand({4000}) < score.sigmoid()).to(torch::kFloat64);
  const auto many = roc(score, label);
  REQUIRE(many.threshold.size() == 200);
  CHECK(many.true_positive_rate.back() == 1);
  double area = 0;
  for (size_t i = 1; i < 200; ++i) {
    area += (many.false_positive_rate[i] - many.false_positive_rate[i - 1]) *
            (many.true_positive_rate[i] + many.true_positive_rate[i - 1]) / 2;
  }
  CHECK_THAT(area, WithinAbs(auc(score, label).value, 2e-3));
  CHECK(roc(d({1, 2}), d({1, 1})).reason == "one class");
}

TEST_CASE("calibration: means of each bin and the error over all") {
  const auto found = calibration(logits_of(d({0.1, 0.2, 0.5, 0.9})), d({0, 1, 1, 1}), {}, 2);
  CHECK_THAT(found.predicted[0], WithinAbs(0.8 / 3, 1e-12));  // 0.5 is the right end of the first bin
  CHECK_THAT(found.observed[0], WithinAbs(2.0 / 3, 1e-12));
  CHECK_THAT(found.predicted[1], WithinAbs(0.9, 1e-12));
  CHECK(found.weight == std::vector<double>{3, 1});
  CHECK_THAT(found.error.value, WithinAbs((1.2 + 0.1) / 4, 1e-12));
  CHECK(std::isnan(calibration(d({-9}), d({0})).predicted[5]));
}

TEST_CASE("metrics: bad input names the row") {
  CHECK_THROWS_WITH(auc(d({1, NAN}), d({0, 1})), StartsWith("metrics: the logit of row 1 is NaN"));
  CHECK_THROWS_WITH(auc(d({1, 2}), d({NAN, 1})), StartsWith("metrics: the label of row 0 is NaN"));
  CHECK_THROWS_WITH(auc(d({1, 2}), d({0, 1}), d({1, -2})),
                    StartsWith("metrics: the weight of row 1 must be >= 0, got -2"));
  CHECK_THROWS_WITH(auc(d({1, 2}), d({1})), StartsWith("metrics: label must have one entry per logit (2), got 1"));
  CHECK_THROWS_WITH(confusion(d({1}), d({1}), 1.5), StartsWith("metrics: threshold must lie in [0, 1], got 1.5"));
}
