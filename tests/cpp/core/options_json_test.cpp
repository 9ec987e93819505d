#include "polyscene/core/options_json.h"

#include <cmath>

#include "catch.h"

using namespace polyscene;

namespace {

OptionMap parse_options(const std::string& text) { return options_from_json(text, "c.json"); }

OptionValue value_of(const std::string& text) {
  return options_from_json("{\"experts\": " + text + "}", "c.json", "model").at(0).second;
}

}  // namespace

TEST_CASE("options_json: comments are allowed and the order of names is kept") {
  const auto map = parse_options("{ // one\n \"z\": 1, /* two */ \"a\": [1, 2]}");
  CHECK((map == OptionMap{{"z", int64_t{1}}, {"a", std::vector<int64_t>{1, 2}}}));
}

TEST_CASE("options_json: errors name the file, the line and the column") {
  CHECK_THROWS_WITH(parse_options("{\"a\": 1,\n  \"b\": x}"),
                    ContainsSubstring("c.json: line 2, column 8: syntax error"));
  CHECK_THROWS_WITH(parse_options("{\"ä\" 1}"), ContainsSubstring("c.json: line 1, column 6"));
  CHECK_THROWS_WITH(parse_options(""), ContainsSubstring("c.json: line 1, column 1"));
  CHECK_THROWS_WITH(parse_options("{\"a\": 1"), ContainsSubstring("line 1, column 8"));
  CHECK_THROWS_AS(parse_options("{"), c10::ValueError);
  CHECK_THROWS_AS(parse_options("{\"a\": 1e999}"), c10::ValueError);
  CHECK_THROWS_AS(parse_options("{\"\xff\": 1}"), c10::ValueError);
}

TEST_CASE("options_json: repeated names and deep nesting are refused") {
  CHECK_THROWS_WITH(parse_options(R"({"model": {"experts": 1, "experts": 2}})"),
                    ContainsSubstring("c.json: 'model.experts' is given twice"));
  CHECK_THROWS_WITH(parse_options(R"({"a": [{"a": 1}, {"a": 2}]})"), !ContainsSubstring("twice"));
  CHECK_THROWS_WITH(parse_options(std::string(200'000, '[')), ContainsSubstring("nested deeper than 100 levels"));
}

TEST_CASE("options_json: values become options and come back") {
  const auto map =
      parse_options(R"({"b": true, "i": -3, "f": 1.5, "s": "x", "l": [1, 2], "m": [1, 0.5], "t": ["a"], "e": []})");
  const OptionMap expected = {{"b", true},
                              {"i", int64_t{-3}},
                              {"f", 1.5},
                              {"s", std::string("x")},
                              {"l", std::vector<int64_t>{1, 2}},
                              {"m", std::vector<double>{1, 0.5}},
                              {"t", std::vector<std::string>{"a"}},
                              {"e", std::vector<int64_t>{}}};
  CHECK((map == expected));
  CHECK((parse_options(options_to_json(map)) == map));
  CHECK(options_to_json({{"lr", 1.0}, {"n", int64_t{1}}}) == R"({"lr":1.0,"n":1})");
  CHECK_THROWS_WITH(options_to_json({{"lr", std::nan("")}}),
                    ContainsSubstring("lr: JSON holds finite numbers only, got nan"));
  CHECK_THROWS_WITH(options_to_json({{"lr", std::vector<double>{INFINITY}}}), ContainsSubstring("got [inf]"));
  CHECK_THROWS_AS(options_to_json({{"name", std::string("\xff")}}), c10::ValueError);
}

TEST_CASE("options_json: errors of values name their path") {
  const auto refused = [](const std::string& text, const std::string& reason) {
    CHECK_THROWS_WITH(value_of(text), ContainsSubstring("model.experts: " + reason));
  };
  refused("null", "null is no value; leave the name out to get the default");
  refused("{}", "must be a number, text, true, false or a list of them, got an object");
  refused("[[1]]", "a list must hold numbers or texts, got list");
  refused("[1, \"a\"]", "a list must hold either numbers or texts, got both");
  refused("[true]", "a list must hold numbers or texts, got true or false");
  refused("9223372036854775808", "9223372036854775808 is too large for a 64-bit integer");
  CHECK(std::get<int64_t>(value_of("9223372036854775807")) == INT64_MAX);
  CHECK_THROWS_WITH(parse_options("[]"), ContainsSubstring("the top level: must be an object, got list"));
}
