#include "polyscene/core/json.h"

#include <cmath>

#include "catch.h"

using namespace polyscene;

TEST_CASE("json: comments are allowed and the order of names is kept") {
  const auto json = parse_json("{ // one\n \"z\": 1, /* two */ \"a\": {\"m\": [1, 2]}}", "c.json");
  std::vector<std::string> names;
  for (const auto& [name, value] : json.items()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"z", "a"});
  CHECK(json["a"]["m"][1] == 2);
}

TEST_CASE("json: errors name the file, the line and the column") {
  CHECK_THROWS_WITH(parse_json("{\"a\": 1,\n  \"b\": x}", "c.json"),
                    ContainsSubstring("c.json: line 2, column 8: syntax error"));
  CHECK_THROWS_WITH(parse_json("{\"ä\" 1}", "c.json"), ContainsSubstring("c.json: line 1, column 6"));
  CHECK_THROWS_WITH(parse_json("", "c.json"), ContainsSubstring("c.json: line 1, column 1"));
  CHECK_THROWS_WITH(parse_json("{\"a\": 1", "c.json"), ContainsSubstring("line 1, column 8"));
  CHECK_THROWS_AS(parse_json("{", "c.json"), c10::ValueError);
  CHECK_THROWS_AS(parse_json("1e999", "c.json"), c10::ValueError);
}

TEST_CASE("json: repeated names and deep nesting are refused") {
  CHECK_THROWS_WITH(parse_json(R"({"model": {"experts": 1, "experts": 2}})", "c.json"),
                    ContainsSubstring("c.json: 'model.experts' is given twice"));
  CHECK_NOTHROW(parse_json(R"([{"a": 1}, {"a": 2}])", "c.json"));
  CHECK_THROWS_WITH(parse_json(std::string(200'000, '['), "c.json"),
                    ContainsSubstring("nested deeper than 100 levels"));
}

TEST_CASE("json: values become options and come back") {
  const auto map = option_map(
      parse_json(R"({"b": true, "i": -3, "f": 1.5, "s": "x", "l": [1, 2], "m": [1, 0.5], "t": ["a"], "e": []})",
                 "c.json"),
      "model");
  CHECK(std::get<bool>(map[0].second));
  CHECK(std::get<int64_t>(map[1].second) == -3);
  CHECK(std::get<double>(map[2].second) == 1.5);
  CHECK(std::get<std::string>(map[3].second) == "x");
  CHECK(std::get<std::vector<int64_t>>(map[4].second) == std::vector<int64_t>{1, 2});
  CHECK(std::get<std::vector<double>>(map[5].second) == std::vector<double>{1, 0.5});
  CHECK(std::get<std::vector<std::string>>(map[6].second) == std::vector<std::string>{"a"});
  CHECK(std::get<std::vector<int64_t>>(map[7].second).empty());
  CHECK((option_map(to_json(map), "model") == map));
  CHECK(to_json(OptionValue(1.0)).dump() == "1.0");
  CHECK_THROWS_WITH(to_json(OptionMap{{"lr", std::nan("")}}),
                    ContainsSubstring("lr: JSON holds finite numbers only, got nan"));
}

TEST_CASE("json: errors of values name their path") {
  const auto value = [](const std::string& text) { return option_value(parse_json(text, "c.json"), "model.experts"); };
  CHECK_THROWS_WITH(value("null"), ContainsSubstring("model.experts: null is no value"));
  CHECK_THROWS_WITH(
      value("{}"),
      ContainsSubstring("model.experts: must be a number, text, true, false or a list of them, got an object"));
  CHECK_THROWS_WITH(value("[[1]]"), ContainsSubstring("model.experts: a list must hold numbers or texts, got list"));
  CHECK_THROWS_WITH(value("[1, \"a\"]"), ContainsSubstring("model.experts: a list must hold either numbers or texts"));
  CHECK_THROWS_WITH(value("[true]"), ContainsSubstring("got true or false"));
  CHECK_THROWS_WITH(value("9223372036854775808"), ContainsSubstring("model.experts: 9223372036854775808 is too large"));
  CHECK(std::get<int64_t>(value("9223372036854775807")) == INT64_MAX);
  CHECK_THROWS_WITH(option_map(parse_json("[]", "c.json"), ""),
                    ContainsSubstring("the top level: must be an object, got list"));
  CHECK_THROWS_WITH(option_map(parse_json(R"({"a": null})", "c.json"), "train"), ContainsSubstring("train.a: null"));
}
