#include "polyscene/data/simulator.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "catch.h"

using namespace polyscene::data;

namespace {

SimulatorOptions small_simulation() {
  return SimulatorOptions().scenes(3).interests(6).users(4'000).events(20).items(60).seed(5);
}

// Plain views of the columns, so that the checks below read like the formulas.
struct Rows {
  explicit Rows(const Simulation& simulation)
      : n(simulation.columns->rows),
        codes(simulation.columns->codes),
        user(codes.select(1, 0).contiguous()),
        item(codes.select(1, 1).contiguous()),
        scene(simulation.columns->scene),
        interest(simulation.columns->interest.values),
        label(simulation.columns->label),
        time(simulation.columns->time) {}

  int at(const torch::Tensor& column, int64_t row) const { return column.const_data_ptr<int32_t>()[row]; }
  bool follows(int64_t row) const { return row > 0 && at(user, row) == at(user, row - 1); }

  int64_t n;
  torch::Tensor codes, user, item, scene, interest, label, time;
};

// Deviations by which a chi-square statistic lies above its mean.
double excess(double chi_square, double freedom) { return (chi_square - freedom) / std::sqrt(2 * freedom); }

// How far the transitions of the rows accepted by `use` lie from `q` [S, S, K, K].
template <typename Use>
double transition_excess(const Simulation& simulation, const torch::Tensor& q, Use use) {
  const Rows rows(simulation);
  auto counts = torch::zeros_like(q);
  auto count = counts.accessor<double, 4>();
  for (int64_t row = 1; row < rows.n; ++row) {
    if (!rows.follows(row) || !use(row)) continue;
    count[rows.at(rows.scene, row - 1)][rows.at(rows.scene, row)][rows.at(rows.interest, row - 1)]
         [rows.at(rows.interest, row)] += 1;
  }
  const auto totals = counts.sum(-1, true);
  const auto enough = totals.expand_as(counts) > 50;
  REQUIRE(enough.any().item<bool>());
  const auto expected = totals * q;
  const auto chi = ((counts - expected).square() / expected).masked_select(enough).sum().item<double>();
  const auto freedom =
      enough.sum().item<double>() * static_cast<double>(q.size(-1) - 1) / static_cast<double>(q.size(-1));
  return excess(chi, freedom);
}

double auc(const torch::Tensor& label, const torch::Tensor& score) {
  const auto order = score.argsort();
  const auto sorted = label.index_select(0, order).to(torch::kFloat64);
  const auto ranks = torch::arange(1, sorted.numel() + 1, torch::kFloat64);
  const auto ones = sorted.sum().item<double>(), zeros = static_cast<double>(sorted.numel()) - ones;
  return ((ranks * sorted).sum().item<double>() - ones * (ones + 1) / 2) / (ones * zeros);
}

// Deviations between the labels and `probability`, the largest over ten groups of equal size by probability.
double calibration(const torch::Tensor& label, const torch::Tensor& probability) {
  const auto order = probability.argsort();
  const auto y = label.index_select(0, order).to(torch::kFloat64).chunk(10);
  const auto p = probability.index_select(0, order).to(torch::kFloat64).chunk(10);
  double worst = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const auto deviation = (p[i] * (1 - p[i])).sum().sqrt();
    worst = std::max(worst, ((y[i] - p[i]).sum() / deviation).abs().item<double>());
  }
  return worst;
}

}  // namespace

TEST_CASE("simulator: columns are whole and events of a user are in order") {
  const auto simulation = simulate(small_simulation());
  const auto& columns = *simulation.columns;
  CHECK_NOTHROW(columns.check());
  CHECK(columns.categorical == std::vector<std::string>{"user_id", "item_id", "topic", "brand", "device", "segment"});
  CHECK(columns.numeric == std::vector<std::string>{"age", "price"});
  CHECK(columns.scene_names == std::vector<std::string>{"scene_0", "scene_1", "scene_2"});
  CHECK(columns.ids[0].at(3'999) == "u3999");
  CHECK(columns.interest_ids.at(5) == "interest_5");
  CHECK(static_cast<double>(columns.rows) == Approx(80'000).epsilon(0.02));
  const Rows rows(simulation);
  const auto* time = rows.time.const_data_ptr<int64_t>();
  std::vector<int> events(4'000);
  for (int64_t row = 0; row < rows.n; ++row) {
    ++events[rows.at(rows.user, row)];
    REQUIRE((row == 0 || rows.at(rows.user, row) >= rows.at(rows.user, row - 1)));
    if (rows.follows(row)) REQUIRE(time[row] > time[row - 1]);
    const auto topic = columns.codes[row][2].item<int>();
    if (row % 997 == 0) REQUIRE(topic == simulation.item_topic[rows.at(rows.item, row)].item<int64_t>());
  }
  CHECK(*std::min_element(events.begin(), events.end()) == 10);
  CHECK(*std::max_element(events.begin(), events.end()) == 30);
  CHECK(rows.time.min().item<int64_t>() >= 1'704'067'200);
  CHECK(rows.time.max().item<int64_t>() < 1'704'067'200 + 90 * 86'400);
  CHECK_FALSE(columns.numbers.isnan().any().item<bool>());
}

TEST_CASE("simulator: the same seed gives the same rows with one thread and two") {
  const auto threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = simulate(small_simulation());
  at::set_num_threads(2);
  const auto two = simulate(small_simulation());
  at::set_num_threads(threads);
  CHECK(one.columns->digest() == two.columns->digest());
  CHECK(torch::equal(one.probability, two.probability));
  CHECK(one.next_bayes == two.next_bayes);
  CHECK(simulate(small_simulation().seed(6)).columns->digest() != one.columns->digest());
}

TEST_CASE("simulator: rows of the matrices are Dirichlet numbers with the noise mixed in") {
  const auto pure = simulate(small_simulation().noise(0).users(1).interests(20).items(20));
  CHECK_THAT(pure.transition.sum(-1), IsNear(torch::ones({3, 3, 20}, torch::kFloat64), 1e-12));
  CHECK(pure.transition.min().item<double>() >= 0);
  // E[p^2] = (a + 1) / (K (K a + 1)) of a symmetric Dirichlet(a).
  const auto wide = simulate(small_simulation().noise(0).users(1).interests(20).items(20).scenes(10).likeness(0));
  CHECK(wide.transition.square().mean().item<double>() == Approx(1.3 / (20 * 7)).epsilon(0.05));
  const auto noisy = simulate(small_simulation().noise(0.1).users(1).interests(20).items(20));
  CHECK_THAT(noisy.transition, IsNear(0.9 * pure.transition + 0.1 / 20, 1e-12));
  CHECK_THAT(noisy.initial.sum(-1), IsNear(torch::ones({3}, torch::kFloat64), 1e-12));
  const auto sharp = simulate(small_simulation().noise(0).users(1).concentration(1e-4));
  CHECK_THAT(sharp.transition.amax(-1), IsNear(torch::ones({3, 3, 6}, torch::kFloat64), 1e-3));
}

TEST_CASE("simulator: pairs of scenes share as many rows as likeness says") {
  const auto same = simulate(small_simulation().users(1).likeness(1)).transition;
  CHECK(torch::equal(same[0][0], same[2][1]));
  const auto apart = simulate(small_simulation().users(1).likeness(0)).transition;
  CHECK((apart[0][0] - apart[2][1]).abs().amax(-1).min().item<double>() > 1e-3);
  const auto some =
      simulate(small_simulation().users(1).scenes(20).interests(20).items(20)).transition.view({400, 20, 20});
  const auto equal = (some.unsqueeze(0) == some.unsqueeze(1)).all(-1).to(torch::kFloat64);  // [400, 400, 20]
  const auto shared = (equal.sum() - 400 * 20) / (400.0 * 399 * 20);
  CHECK(shared.item<double>() == Approx(0.25).margin(0.02));  // both rows of a pair must be common ones
}

TEST_CASE("simulator: events follow the true matrices") {
  const auto simulation = simulate(small_simulation());
  const auto any = [](int64_t) { return true; };
  CHECK(std::abs(transition_excess(simulation, simulation.transition, any)) < 4);
  const auto other = simulate(small_simulation().seed(6).users(1)).transition;
  CHECK(transition_excess(simulation, other, any) > 100);
}

TEST_CASE("simulator: drift moves the matrices along the time line") {
  const auto simulation = simulate(small_simulation().drift(0.8).users(12'000));
  const auto* time = simulation.columns->time.const_data_ptr<int64_t>();
  const auto day = [&](int64_t row) { return (time[row] - 1'704'067'200) / 86'400; };
  const auto early = [&](int64_t row) { return day(row) < 9; };
  const auto late = [&](int64_t row) { return day(row) >= 81; };
  const auto near = [&](double moment) {
    return torch::lerp(simulation.transition, simulation.transition_end, moment);
  };
  CHECK(std::abs(transition_excess(simulation, near(0.05), early)) < 4);
  CHECK(std::abs(transition_excess(simulation, near(0.95), late)) < 4);
  CHECK(transition_excess(simulation, near(0.95), early) > 20);
}

TEST_CASE("simulator: the first interest follows the start of its scene") {
  const auto simulation = simulate(small_simulation());
  const Rows rows(simulation);
  auto counts = torch::zeros({3, 6}, torch::kFloat64);
  auto count = counts.accessor<double, 2>();
  for (int64_t row = 0; row < rows.n; ++row) {
    if (!rows.follows(row)) count[rows.at(rows.scene, row)][rows.at(rows.interest, row)] += 1;
  }
  const auto expected = counts.sum(1, true) * simulation.initial;
  CHECK(excess(((counts - expected).square() / expected).sum().item<double>(), 15) < 4);
}

TEST_CASE("simulator: the best guess is as good as next_bayes says") {
  const auto simulation = simulate(small_simulation());
  const Rows rows(simulation);
  const auto best = std::get<1>(simulation.transition.max(-1));
  const auto top = simulation.transition.amax(-1);
  std::vector<double> rate(3), count(3);
  double hits = 0;
  for (int64_t row = 1; row < rows.n; ++row) {
    if (!rows.follows(row)) continue;
    const auto a = rows.at(rows.scene, row - 1), b = rows.at(rows.scene, row), i = rows.at(rows.interest, row - 1);
    rate[b] += top[a][b][i].item<double>();
    count[b] += 1;
    hits += best[a][b][i].item<int64_t>() == rows.at(rows.interest, row);
  }
  for (int b = 0; b < 3; ++b)
    CHECK(simulation.next_bayes_scene[b].item<double>() == Approx(rate[b] / count[b]).epsilon(1e-7));
  const auto all = std::accumulate(count.begin(), count.end(), 0.0);
  CHECK(simulation.next_bayes == Approx(std::accumulate(rate.begin(), rate.end(), 0.0) / all).epsilon(1e-7));
  CHECK(hits / all == Approx(simulation.next_bayes).margin(4 * 0.5 / std::sqrt(all)));
}

TEST_CASE("simulator: labels follow both probabilities, and history tells a part of them") {
  const auto simulation = simulate(SimulatorOptions().users(4'000).seed(3));
  const auto& label = simulation.columns->label;
  CHECK(calibration(label, simulation.probability) < 4);
  CHECK(calibration(label, simulation.expected) < 4);
  const auto known = auc(label, simulation.probability), expected = auc(label, simulation.expected);
  CHECK(known > 0.80);
  CHECK(known < 0.85);
  CHECK(expected > 0.74);
  CHECK(expected < known - 0.03);
  CHECK(label.mean().item<double>() > 0.3);
  CHECK(label.mean().item<double>() < 0.5);
  const auto flat = simulate(SimulatorOptions().users(500).strength(0));
  CHECK_THAT(flat.probability, IsNear(torch::full_like(flat.probability, 0.5), 1e-7));
}

TEST_CASE("simulator: a match adds 2 to the logit and is as frequent as relevance says") {
  const auto simulation = simulate(small_simulation().relevance(0.4).related(false));
  const Rows rows(simulation);
  const auto index = rows.scene.to(torch::kInt64), interest = rows.interest.to(torch::kInt64);
  const auto wanted = simulation.scene_topic.index({index, interest});
  const auto match = wanted == rows.codes.select(1, 2);
  for (int64_t s = 0; s < 3; ++s) {
    const auto here = match.masked_select(index == s).to(torch::kFloat64);
    CHECK(here.mean().item<double>() == Approx(0.4 + 0.6 / 6).margin(4 * 0.5 / std::sqrt(here.numel())));
  }
  // The rest of the logit is a function of scene, user and item alone.
  const auto rest = simulation.probability.to(torch::kFloat64).logit() - 2 * match.to(torch::kFloat64);
  const auto key = (index * 4'000 + rows.user) * 60 + rows.item;
  const auto order = key.argsort();
  const auto same = key.index_select(0, order).diff() == 0;
  const auto step = rest.index_select(0, order).diff().masked_select(same);
  REQUIRE(step.numel() > 1'000);
  CHECK(step.abs().max().item<double>() < 1e-4);
}

TEST_CASE("simulator: users are active in several scenes as overlap says, and only there") {
  const auto simulation = simulate(small_simulation().overlap(0.3));
  const auto counts = simulation.user_scenes.sum(1);
  CHECK(counts.min().item<int64_t>() == 1);
  CHECK((counts > 1).to(torch::kFloat64).mean().item<double>() == Approx(0.3).margin(0.03));
  const Rows rows(simulation);
  const auto seen = torch::zeros_like(simulation.user_scenes);
  seen.index_put_({rows.user.to(torch::kInt64), rows.scene.to(torch::kInt64)}, torch::ones({}, torch::kBool));
  CHECK_FALSE((seen & ~simulation.user_scenes).any().item<bool>());
  CHECK((seen != simulation.user_scenes).sum().item<int64_t>() < 40);  // a scene may stay unvisited by chance
  CHECK((simulate(small_simulation().overlap(0)).user_scenes.sum(1) == 1).all().item<bool>());
  CHECK((simulate(small_simulation().overlap(1)).user_scenes.sum(1) > 1).all().item<bool>());
}

TEST_CASE("simulator: a sparse scene keeps its share of the rows, transitions stay true") {
  const auto full = simulate(small_simulation());
  const auto sparse = simulate(small_simulation().sparse_scene(1).sparsity(0.1));
  const auto rows_in = [](const Simulation& s, int scene) { return (s.columns->scene == scene).sum().item<double>(); };
  CHECK(rows_in(sparse, 1) / rows_in(full, 1) == Approx(0.1).margin(0.02));
  CHECK(rows_in(sparse, 0) > rows_in(full, 0));
  CHECK(sparse.columns->rows == full.columns->rows);
  CHECK(torch::equal(sparse.transition, full.transition));
  CHECK(std::abs(transition_excess(sparse, sparse.transition, [](int64_t) { return true; })) < 4);
  CHECK(rows_in(simulate(small_simulation().sparse_scene(1).sparsity(0)), 1) == 0);
}

TEST_CASE("simulator: an unrelated target scene is a world apart, the others stay as they were") {
  const auto related = simulate(small_simulation());
  const auto apart = simulate(small_simulation().related(false));
  CHECK(torch::equal(related.scene_topic, torch::arange(6).expand({3, 6})));
  CHECK(torch::equal(apart.scene_topic[0], torch::arange(6)));
  CHECK((apart.scene_topic[2] != torch::arange(6)).all().item<bool>());
  CHECK(torch::equal(std::get<0>(apart.scene_topic[2].sort()), torch::arange(6)));
  const auto sources = [](const torch::Tensor& q) { return q.slice(0, 0, 2).slice(1, 0, 2); };
  CHECK(torch::equal(sources(related.transition), sources(apart.transition)));
  CHECK((related.transition[2][2] - apart.transition[2][2]).abs().max().item<double>() > 0.1);
  CHECK((related.transition[0][2] - apart.transition[0][2]).abs().max().item<double>() > 0.1);
  CHECK(calibration(apart.columns->label, apart.expected) < 4);
  // Qualities of items: alike in all scenes of one world, unlike in two.
  const auto likeness = [](const Simulation& s, int64_t a, int64_t b) {
    const auto mean = [&](int64_t scene) {
      const auto here = s.columns->scene == scene;
      const auto item = s.columns->codes.select(1, 1).masked_select(here).to(torch::kInt64);
      const auto p = s.probability.masked_select(here);
      const auto means = torch::zeros({60}).index_add_(0, item, p) / torch::bincount(item, {}, 60);
      const auto by_topic = torch::zeros({6}).index_add_(0, s.item_topic, means) / 10;
      return means - by_topic.index_select(0, s.item_topic);  // topics are liked unlike in each scene
    };
    return torch::corrcoef(torch::stack({mean(a), mean(b)}))[0][1].item<double>();
  };
  CHECK(likeness(related, 0, 2) > 0.9);
  CHECK(likeness(apart, 0, 1) > 0.9);
  CHECK(likeness(apart, 0, 2) < 0.4);
  CHECK(torch::equal(simulate(small_simulation().related(false).target(0)).scene_topic[2], torch::arange(6)));
}

TEST_CASE("simulator: missing numbers are missing for a whole user or item") {
  const auto simulation = simulate(small_simulation().missing(0.2));
  const auto age = simulation.columns->numbers.select(1, 0);
  const auto user = simulation.columns->codes.select(1, 0).to(torch::kInt64);
  const auto empty = torch::zeros({4'000}).index_add_(0, user, age.isnan().to(torch::kFloat32)) / torch::bincount(user);
  CHECK(((empty == 0) | (empty == 1)).all().item<bool>());
  CHECK(empty.mean().item<double>() == Approx(0.2).margin(0.03));
  CHECK(simulation.columns->numbers.select(1, 1).isnan().any().item<bool>());
}

TEST_CASE("simulator: the smallest options work") {
  const auto simulation = simulate(SimulatorOptions().scenes(1).interests(2).users(1).events(1).items(2));
  CHECK(simulation.columns->rows == 1);
  CHECK(std::isnan(simulation.next_bayes));
  CHECK_NOTHROW(simulation.columns->check());
}

TEST_CASE("simulator: options out of range are refused") {
  const auto refused = [](const SimulatorOptions& options, const std::string& reason) {
    INFO(reason);
    CHECK_THROWS_WITH(simulate(options), ContainsSubstring(reason));
    CHECK_THROWS_AS(simulate(options), c10::ValueError);
  };
  refused(small_simulation().scenes(0), "simulator: scenes must be from 1");
  refused(small_simulation().interests(1), "simulator: interests must be from 2");
  refused(small_simulation().users(0), "simulator: users must be from 1");
  refused(small_simulation().items(5),
          "simulator: items must be at least as many as interests, got 5 items and 6 interests");
  refused(small_simulation().overlap(1.5), "simulator: overlap must be in [0, 1], got 1.5");
  refused(small_simulation().noise(NAN), "simulator: noise must be in [0, 1], got nan");
  refused(small_simulation().concentration(0), "simulator: concentration must be above 0, got 0");
  refused(small_simulation().strength(INFINITY), "simulator: strength must be finite");
  refused(small_simulation().sparse_scene(3), "simulator: sparse_scene must be in [0, 3) or -1, got 3");
  refused(small_simulation().target(-2), "simulator: target must be in [0, 3) or -1, got -2");
  refused(small_simulation().days(1).events(100'000), "simulator: 1 days are too short");
  refused(small_simulation().scenes(2'000),
          "simulator: scenes times interests must be at most 5,000, got 2000 times 6");
  refused(small_simulation().scenes(1).related(false), "simulator: related=false wants at least 2 scenes");
  refused(small_simulation().scenes(1).sparse_scene(0).sparsity(0.5), "simulator: the only scene cannot be sparse");
}
