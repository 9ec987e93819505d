#include "polyscene/core/errors.h"

#include "catch.h"
#include "polyscene/core/log.h"

using namespace polyscene;

TEST_CASE("errors: lists are joined") {
  CHECK(join({}) == "");
  CHECK(join({"a"}) == "a");
  CHECK(join({"a", "b", "c"}, " | ") == "a | b | c");
}

TEST_CASE("errors: the nearest name is suggested, a far one is not") {
  const std::vector<std::string> known = {"experts", "expert_hidden", "gate"};
  CHECK(nearest("expert", known) == "experts");
  CHECK(nearest("gaet", known) == "gate");
  CHECK(nearest("learning_rate", known) == "");
  CHECK(nearest("x", {}) == "");
  CHECK(suggestion("epxerts", known) == "; did you mean 'experts'?");
  CHECK(suggestion("dropout", known) == "");
}

TEST_CASE("log: the sink takes every level until it is removed") {
  std::vector<std::pair<int, std::string>> taken;
  set_log_sink([&](int level, const std::string& message) { taken.emplace_back(level, message); });
  log(kDebug, "a");
  log(kWarning, "b");
  set_log_sink({});
  log(kInfo, "c");
  CHECK((taken == std::vector<std::pair<int, std::string>>{{10, "a"}, {30, "b"}}));
}
