#include "polyscene/core/options.h"

#include <torch/torch.h>

#include "catch.h"

using namespace polyscene;

namespace {

struct SampleOptions {
  TORCH_ARG(int64_t, experts) = 4;
  TORCH_ARG(double, rate) = 0.1;
  TORCH_ARG(bool, gated) = true;
  TORCH_ARG(std::string, kind) = "dot";
  TORCH_ARG(std::vector<int64_t>, hidden) = {128, 64};
  TORCH_ARG(std::vector<double>, weights);
  TORCH_ARG(std::vector<std::string>, scenes);

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("experts", self.experts(), "experts shared by every scene");
    visit("rate", self.rate(), "step size");
    visit("gated", self.gated(), "whether gates are used");
    visit("kind", self.kind(), "score");
    visit("hidden", self.hidden(), "widths");
    visit("weights", self.weights(), "weights");
    visit("scenes", self.scenes(), "scenes");
  }
};

SampleOptions from(const OptionMap& values) { return options_from<SampleOptions>("Sample", values); }

}  // namespace

TEST_CASE("options: fields carry name, type, default and text") {
  const auto fields = option_fields<SampleOptions>();
  REQUIRE(fields.size() == 7);
  CHECK(fields[0].name == "experts");
  CHECK(fields[0].type == "int");
  CHECK(fields[4].type == "list of int");
  CHECK(to_text(fields[4].value) == "[128, 64]");
  CHECK(fields[1].doc == "step size");
}

TEST_CASE("options: values are set by name and come back") {
  const OptionMap values = {{"experts", int64_t{8}},
                            {"rate", 0.5},
                            {"gated", false},
                            {"kind", std::string("cosine")},
                            {"hidden", std::vector<int64_t>{3}},
                            {"weights", std::vector<double>{1.5}},
                            {"scenes", std::vector<std::string>{"a"}}};
  CHECK((to_map(from(values)) == values));
  CHECK(from({}).experts() == 4);
}

TEST_CASE("options: numbers convert where nothing is lost") {
  CHECK(from({{"rate", int64_t{2}}}).rate() == 2.0);
  CHECK(from({{"experts", 8.0}}).experts() == 8);
  CHECK(from({{"weights", std::vector<int64_t>{1, 2}}}).weights() == std::vector<double>{1, 2});
  CHECK(from({{"hidden", std::vector<double>{1, 2}}}).hidden() == std::vector<int64_t>{1, 2});
  CHECK(from({{"scenes", std::vector<int64_t>{}}}).scenes().empty());
  CHECK(from({{"hidden", std::vector<std::string>{}}}).hidden().empty());
}

TEST_CASE("options: wrong names and types are refused") {
  CHECK_THROWS_WITH(
      from({{"expert", int64_t{1}}}),
      ContainsSubstring("Sample: unknown option 'expert'; known options: experts, rate, gated, kind, hidden, weights, "
                        "scenes; did you mean 'experts'?"));
  CHECK_THROWS_WITH(from({{"experts", std::string("four")}}),
                    ContainsSubstring("Sample: option 'experts' must be int, got 'four' (str)"));
  CHECK_THROWS_WITH(from({{"experts", 1.5}}), ContainsSubstring("must be int, got 1.5 (float)"));
  CHECK_THROWS_WITH(from({{"experts", true}}), ContainsSubstring("must be int, got true (bool)"));
  CHECK_THROWS_WITH(from({{"gated", int64_t{1}}}), ContainsSubstring("must be bool, got 1 (int)"));
  CHECK_THROWS_WITH(from({{"rate", std::vector<double>{1}}}), ContainsSubstring("must be float"));
  CHECK_THROWS_WITH(from({{"hidden", std::vector<double>{1.5}}}), ContainsSubstring("must be list of int"));
  CHECK_THROWS_AS(from({{"expert", int64_t{1}}}), c10::ValueError);
}

TEST_CASE("options: texts of numbers are short and exact") {
  CHECK(to_text(0.1) == "0.1");
  CHECK(to_text(1.0) == "1");
  CHECK(to_text(1.0 / 3) == "0.3333333333333333");
  CHECK(to_text(std::vector<std::string>{"a", "b"}) == "['a', 'b']");
}
