#include "polyscene/train/schedule.h"

#include "catch.h"

using polyscene::train::Schedule;

TEST_CASE("Schedule: constant after a linear rise") {
  const Schedule schedule{.warmup_steps = 4};
  CHECK(schedule.factor(0, 0) == 0.25);
  CHECK(schedule.factor(3, 0) == 1);
  CHECK(schedule.factor(1000, 0) == 1);
}

TEST_CASE("Schedule: step, linear and cosine at hand-computed points") {
  const Schedule step{.name = "step", .warmup_steps = 2, .decay_steps = 3, .decay_factor = 0.5};
  for (const auto& [at, wanted] : std::map<int64_t, double>{{1, 1}, {2, 1}, {4, 1}, {5, 0.5}, {8, 0.25}}) {
    CHECK_THAT(step.factor(at, 0), WithinAbs(wanted, 1e-15));
  }
  const Schedule linear{.name = "linear", .warmup_steps = 2, .final_scale = 0.2};
  CHECK_THAT(linear.factor(2, 12), WithinAbs(1, 1e-15));
  CHECK_THAT(linear.factor(7, 12), WithinAbs(0.6, 1e-15));
  CHECK_THAT(linear.factor(12, 12), WithinAbs(0.2, 1e-15));
  CHECK_THAT(linear.factor(99, 12), WithinAbs(0.2, 1e-15));
  const Schedule cosine{.name = "cosine", .final_scale = 0.1};
  CHECK_THAT(cosine.factor(5, 10), WithinAbs(0.55, 1e-15));
  CHECK_THAT(cosine.factor(10, 10), WithinAbs(0.1, 1e-15));
}

TEST_CASE("Schedule: bad values are refused") {
  CHECK_THROWS_WITH(Schedule{.name = "cosin"}.check("Optimizer"),
                    StartsWith("Optimizer: unknown schedule 'cosin'; known schedules: constant, cosine, step, linear; "
                               "did you mean 'cosine'?"));
  CHECK_THROWS_WITH(Schedule{.warmup_steps = -1}.check("x"), StartsWith("x: warmup_steps must be >= 0, got -1"));
  CHECK_THROWS_WITH(Schedule{.decay_steps = 0}.check("x"), StartsWith("x: decay_steps must be positive, got 0"));
  CHECK_THROWS_WITH(Schedule{.decay_factor = 2}.check("x"), StartsWith("x: decay_factor must be in (0, 1], got 2"));
  CHECK_THROWS_WITH(Schedule{.final_scale = -1}.check("x"), StartsWith("x: final_scale must be in [0, 1], got -1"));
}
