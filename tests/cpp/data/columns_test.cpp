#include "polyscene/data/columns.h"

#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "catch.h"
#include "polyscene/core/safetensors.h"

using namespace polyscene;
using namespace polyscene::data;

namespace {

struct TemporaryFile {
  std::string path =
      (std::filesystem::temp_directory_path() / ("polyscene-columns-" + std::to_string(::getpid()))).string();
  ~TemporaryFile() { std::filesystem::remove(path); }
};

Columns sample() {
  Columns out;
  out.rows = 3;
  out.categorical = {"user_id", "item_id"};
  out.codes = torch::tensor({0, 1, 1, -1, 0, 0}, torch::kInt32).view({3, 2});
  out.ids = {Strings({"u1", "ü2"}), Strings({"7", "007"})};
  out.numeric = {"age"};
  out.numbers = torch::tensor({30.0f, NAN, 18.0f}).view({3, 1});
  out.lists = {"clicked"};
  out.list_codes = {{torch::tensor({0, 1, 0}, torch::kInt32), torch::tensor({0, 2, 2, 3})}};
  out.list_ids = {Strings({"a", ""})};
  out.scene = torch::tensor({0, 1, 0}, torch::kInt32);
  out.scene_names = {"pc", "phone"};
  out.label = torch::tensor({0.0f, 1.0f, 1.0f});
  out.time = torch::tensor({1, 2, 3}, torch::kInt64);
  out.interest = {torch::tensor({1, 0}, torch::kInt32), torch::tensor({0, 1, 1, 2})};
  out.interest_ids = Strings({"music", "sport"});
  return out;
}

template <typename Change>
Columns columns_with(Change change) {
  auto out = sample();
  for (auto* tensor : {&out.codes, &out.numbers, &out.scene, &out.label, &out.time}) *tensor = tensor->clone();
  change(out);
  return out;
}

template <typename Change>
void refused(Change change, const std::string& reason) {
  const auto columns = columns_with(change);
  INFO(reason);
  CHECK_THROWS_WITH(columns.check(), ContainsSubstring(reason));
  CHECK_THROWS_AS(columns.check(), c10::ValueError);
}

}  // namespace

TEST_CASE("Columns: what was saved opens the same") {
  const TemporaryFile file;
  const auto columns = sample();
  columns.save(file.path);
  const auto opened = Columns::open(file.path);
  CHECK(opened->rows == 3);
  CHECK(opened->categorical == columns.categorical);
  CHECK(opened->numeric == columns.numeric);
  CHECK(opened->lists == columns.lists);
  CHECK(opened->scene_names == columns.scene_names);
  CHECK(torch::equal(opened->codes, columns.codes));
  CHECK(opened->ids[0].list() == std::vector<std::string>{"u1", "ü2"});
  CHECK(opened->list_ids[0].list() == std::vector<std::string>{"a", ""});
  CHECK(torch::equal(opened->list_codes[0].offsets, columns.list_codes[0].offsets));
  CHECK(opened->interest_ids.list() == columns.interest_ids.list());
  CHECK(torch::equal(opened->time, columns.time));
  CHECK_FALSE(opened->weight.defined());
  CHECK(std::isnan(opened->numbers[1][0].item<float>()));
  CHECK(opened->digest() == columns.digest());
  CHECK(read_safetensors(file.path).metadata.at("digest") == columns.digest());
  CHECK(opened->categorical_index("item_id") == 1);
  CHECK(opened->categorical_index("age") == -1);
}

TEST_CASE("Columns: no rows and no columns are legal") {
  const TemporaryFile file;
  Columns columns;
  columns.codes = torch::empty({0, 0}, torch::kInt32);
  columns.numbers = torch::empty({0, 0});
  columns.scene = torch::empty({0}, torch::kInt32);
  columns.scene_names = {"all"};
  columns.save(file.path);
  CHECK(Columns::open(file.path)->digest() == columns.digest());
}

TEST_CASE("Columns: every part changes the digest, the bits of a NaN do not") {
  const auto digest = sample().digest();
  CHECK(digest.size() == 64);
  CHECK(sample().digest() == digest);
  const auto differs = [&](auto change) { CHECK(columns_with(change).digest() != digest); };
  differs([](Columns& c) { c.codes[0][0] = 1; });
  differs([](Columns& c) { c.categorical[0] = "user"; });
  differs([](Columns& c) { c.ids[1] = Strings({"70", "07"}); });
  differs([](Columns& c) { c.numbers[0][0] = 31; });
  differs([](Columns& c) { c.numeric[0] = "years"; });
  differs([](Columns& c) { c.lists[0] = "seen"; });
  differs([](Columns& c) { c.list_codes[0].offsets = torch::tensor({0, 1, 2, 3}); });
  differs([](Columns& c) { c.list_ids[0] = Strings({"", "a"}); });
  differs([](Columns& c) { c.scene[2] = 1; });
  differs([](Columns& c) { c.scene_names[1] = "tv"; });
  differs([](Columns& c) { c.label[0] = 1; });
  differs([](Columns& c) { c.label = torch::Tensor(); });
  differs([](Columns& c) { c.weight = torch::ones({3}); });
  differs([](Columns& c) { c.time[0] = 0; });
  differs([](Columns& c) { c.interest.values = torch::tensor({0, 0}, torch::kInt32); });
  differs([](Columns& c) { c.interest_ids = Strings({"sport", "music"}); });
  const auto other_nan = columns_with([](Columns& c) {
    const uint32_t bits = 0xffc12345;
    std::memcpy(c.numbers.data_ptr<float>() + 1, &bits, 4);
  });
  CHECK(other_nan.digest() == digest);
}

TEST_CASE("Columns: what does not fit together is refused by column and row") {
  CHECK_NOTHROW(sample().check());
  refused([](Columns& c) { c.codes[2][1] = 2; }, "categorical column 'item_id', row 2: code must be in [-1, 2), got 2");
  refused([](Columns& c) { c.codes[1][0] = -2; },
          "categorical column 'user_id', row 1: code must be in [-1, 2), got -2");
  refused([](Columns& c) { c.codes = c.codes.to(torch::kInt64); },
          "codes must be a contiguous Int tensor of shape [3, 2]");
  refused([](Columns& c) { c.codes = torch::Tensor(); }, "codes is missing");
  refused([](Columns& c) { c.numbers = torch::zeros({3, 2}); }, "numbers must be");
  refused([](Columns& c) { c.codes = torch::zeros({2, 3}, torch::kInt32).t(); }, "codes must be a contiguous");
  refused([](Columns& c) { c.scene[1] = 2; }, "scene, row 1: code must be in [0, 2), got 2");
  refused([](Columns& c) { c.scene_names = {"a", "a"}; }, "scene names must differ");
  refused([](Columns& c) { c.label = torch::zeros({2}); }, "label must be a contiguous Float tensor of shape [3]");
  refused([](Columns& c) { c.time = torch::zeros({3}); }, "time must be");
  refused([](Columns& c) { c.weight = torch::zeros({3}, torch::kFloat64); }, "weight must be");
  refused([](Columns& c) { c.numeric[0] = "item_id"; }, "two columns are named 'item_id'");
  refused([](Columns& c) { c.ids.pop_back(); }, "2 categorical columns with 1 lists of ids");
  refused(
      [](Columns& c) {
        c.list_codes[0].offsets = torch::tensor({0, 2, 1, 3});
      },
      "list column 'clicked', row 1: offsets must not fall");
  refused([](Columns& c) { c.list_codes[0].offsets = torch::tensor({0, 2, 2, 4}); }, "offsets must run from 0 to 3");
  refused(
      [](Columns& c) {
        c.list_codes[0].values = torch::tensor({0, 1, 9}, torch::kInt32);
      },
      "list column 'clicked', row 2: code must be in [0, 2), got 9");
  refused(
      [](Columns& c) {
        c.interest.values = torch::tensor({1, -1}, torch::kInt32);
      },
      "interest, row 2: code must be in [0, 2), got -1");
  refused([](Columns& c) { c.rows = -1; }, "rows must not be negative");
}

TEST_CASE("Columns: the first bad row is named whatever the number of threads") {
  auto columns = sample();
  columns.rows = 1'000'000;
  columns.codes = torch::zeros({columns.rows, 2}, torch::kInt32);
  columns.codes[400'000][1] = 5;
  columns.codes[900'000][1] = 5;
  CHECK_THROWS_WITH(columns.check(), ContainsSubstring("row 400000: code must be"));
}

TEST_CASE("Columns: other, newer and incomplete files are refused") {
  const TemporaryFile file;
  sample().save(file.path);
  auto whole = read_safetensors(file.path);
  for (auto& [name, tensor] : whole.tensors) tensor = tensor.clone();
  const auto refused_file = [&](const SafetensorsFile& changed_file, const std::string& reason) {
    INFO(reason);
    write_safetensors(file.path, changed_file.tensors, changed_file.metadata);
    CHECK_THROWS_WITH(Columns::open(file.path), ContainsSubstring(file.path + ": " + reason));
    CHECK_THROWS_AS(Columns::open(file.path), c10::ValueError);
  };
  auto other = whole;
  other.metadata["format_version"] = "2";
  refused_file(other, "format version 2 is newer than 1, the latest");
  other.metadata["format_version"] = "x";
  refused_file(other, "format_version must be a number, got 'x'");
  other.metadata = {};
  refused_file(other, "not compiled data of polyscene");
  other = whole;
  other.tensors.erase("ids.1.offsets");
  refused_file(other, "tensor 'ids.1.offsets' is missing");
  other = whole;
  other.tensors["codes"] = other.tensors["codes"] + 7;
  refused_file(other, "Columns: categorical column 'user_id', row 0");
  other = whole;
  other.metadata["names"] = "{}";
  refused_file(other, "the names of its columns cannot be read");
  other = whole;
  other.tensors["ids.0.offsets"][1] = 99;
  refused_file(other, "Strings: offsets");
}
