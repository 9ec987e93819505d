#include "polyscene/transfer/fusion.h"

#include "catch.h"

using polyscene::transfer::fuse;
using polyscene::transfer::Migrated;
using polyscene::transfer::State;

namespace {

State one(const std::vector<double>& values) { return {{"w", numbers(values)}}; }

}  // namespace

TEST_CASE("fuse: equal models are the model, to the last bit, with any weights and importance") {
  torch::manual_seed(3);
  const State start = {{"a", torch::randn({7, 3})}, {"table", torch::randn({5, 2}, torch::kFloat64)}};
  const State end = {{"a", torch::randn({7, 3})}, {"table", torch::randn({5, 2}, torch::kFloat64)}};
  const State importance = {{"a", torch::rand({7, 3})}, {"table", torch::rand({5, 2}, torch::kFloat64)}};
  const auto fused =
      fuse(start, {{end, 0.3, importance, {}}, {end, 0.7, {}, {}}, {end, 0.1, importance, {}}}, {"table"});
  CHECK(torch::equal(fused.at("a"), end.at("a")));
  CHECK(torch::equal(fused.at("table"), end.at("table")));
}

TEST_CASE("fuse: uniform and weighted means by hand") {
  CHECK_THAT(fuse(one({0, 0}), {{one({1, 2})}, {one({3, -2})}}).at("w"), IsNear(numbers({2, 0}), 1e-15));
  CHECK_THAT(fuse(one({0, 0}), {{one({1, 2}), 3}, {one({5, -2}), 1}}).at("w"), IsNear(numbers({2, 1}), 1e-15));
}

TEST_CASE("fuse: Fisher weights by hand, each model's divided by its own norm") {
  // Norms 5 and 2: 0.6 and 0, 0.8 and 1; the last entry has no importance and takes the mean.
  const auto fused = fuse(one({0, 0, 0}), {{one({1, 1, 1}), 1, {{"w", numbers({3, 4, 0})}}, {}},
                                           {one({3, 3, 3}), 1, {{"w", numbers({0, 2, 0})}}, {}}});
  CHECK_THAT(fused.at("w"), IsNear(numbers({1, 3.8 / 1.8, 2}), 1e-15));
}

TEST_CASE("fuse: importance is normalised over the whole model, not by tensor") {
  const State start = {{"a", numbers({0})}, {"b", numbers({0})}};
  const State first = {{"a", numbers({1})}, {"b", numbers({1})}}, second = {{"a", numbers({2})}, {"b", numbers({2})}};
  // 3 and 4 become 0.6 and 0.8; 1 and 0 stay.
  const auto fused = fuse(start, {{first, 1, {{"a", numbers({3})}, {"b", numbers({4})}}, {}},
                                  {second, 1, {{"a", numbers({1})}, {"b", numbers({0})}}, {}}});
  CHECK(fused.at("a").item<double>() == Approx((0.6 + 2) / 1.6));
  CHECK(fused.at("b").item<double>() == Approx(1));
}

TEST_CASE("fuse: a row that a model never looked up counts nothing there") {
  const auto start = torch::tensor({{9., 9.}, {1., 1.}, {1., 1.}, {1., 1.}});
  const auto first = torch::tensor({{9., 9.}, {3., 1.}, {1., 1.}, {5., 5.}});
  const auto second = torch::tensor({{9., 9.}, {1., 1.}, {7., 7.}, {1., 9.}});
  // Nobody saw row 0; row 1 is the first model's although one of its entries stood still, row 2 the second's.
  const auto fused = fuse({{"t", start}}, {{{{"t", first}}}, {{{"t", second}}}}, {"t"}).at("t");
  CHECK_THAT(fused, IsNear(torch::tensor({{9., 9.}, {3., 1.}, {7., 7.}, {3., 7.}}), 1e-15));
  const auto plain = fuse({{"t", start}}, {{{{"t", first}}}, {{{"t", second}}}}).at("t");
  CHECK_THAT(plain[1], IsNear(numbers({2, 1}).to(plain.dtype()), 1e-15));
}

TEST_CASE("fuse: counts weigh the rows of a table, and none of them leaves the initial row") {
  const auto start = torch::zeros({3, 1}), first = torch::full({3, 1}, 4.f), second = torch::full({3, 1}, 8.f);
  const State some = {{"t", torch::tensor({0, 3, 0})}}, other = {{"t", torch::tensor({0, 1, 2})}};
  const auto fused = fuse({{"t", start}}, {{{{"t", first}}, 1, {}, some}, {{{"t", second}}, 1, {}, other}}, {"t"});
  CHECK_THAT(fused.at("t"), IsNear(torch::tensor({{0.f}, {5.f}, {8.f}})));
}

TEST_CASE("fuse: integers are copied from the first model") {
  const auto number = [](int64_t value) { return State{{"n", torch::tensor(value)}, {"on", torch::tensor(true)}}; };
  const auto fused = fuse(number(0), {{number(3)}, {number(8)}});
  CHECK(fused.at("n").item<int64_t>() == 3);
  CHECK(fused.at("n").scalar_type() == torch::kInt64);
  CHECK(fused.at("on").item<bool>());
}

TEST_CASE("fuse: what does not fit is told") {
  const auto start = one({0, 0});
  CHECK_THROWS_WITH(fuse(start, {}), StartsWith("fuse: there must be a model, got none"));
  CHECK_THROWS_WITH(fuse(start, {{one({1})}}),
                    StartsWith("fuse: 'w' is double [2] in the initial state, but double [1]"));
  CHECK_THROWS_WITH(fuse(start, {{State{}}}), StartsWith("fuse: model 0 lacks 'w'"));
  CHECK_THROWS_WITH(fuse(start, {{State{{"w", numbers({1, 1})}, {"v", numbers({1})}}}}),
                    StartsWith("fuse: model 0 has 'v', which the initial state lacks"));
  CHECK_THROWS_WITH(fuse(start, {{one({1, 1}), -1}}),
                    StartsWith("fuse: the weight of model 0 must be finite and not negative, got -1"));
  CHECK_THROWS_WITH(fuse(start, {{one({1, 1}), 0}}), StartsWith("fuse: a weight must be positive"));
  CHECK_THROWS_WITH(fuse(start, {{one({1, 1})}}, {"v"}), StartsWith("fuse: a table is named 'v'"));
  CHECK_THROWS_WITH(fuse(start, {{one({1, 1}), 1, {{"w", numbers({1, -1})}}, {}}}),
                    StartsWith("fuse: importance of 'w' in model 0 must be finite and not negative"));
  CHECK_THROWS_WITH(fuse(start, {{one({1, 1}), 1, {{"w", numbers({1})}}, {}}}),
                    StartsWith("fuse: importance of 'w' in model 0 must be [2], got [1]"));
  CHECK_THROWS_WITH(fuse(start, {{one({1, 1}), 1, {}, {{"w", numbers({1})}}}}, {"w"}),
                    StartsWith("fuse: rows of 'w' in model 0 must be [2], got [1]"));
}
