#include "polyscene/transfer/match.h"

#include "../models/tiny.h"
#include "catch.h"
#include "polyscene/models/single/logistic.h"
#include "polyscene/models/single/mf.h"

using namespace polyscene;
using models::LogisticImpl;
using models::MFImpl;
using models::MFOptions;
using transfer::carry;

namespace {

// User u1 and a newcomer, items in another order, other scenes.
std::shared_ptr<const data::Schema> other_schema() {
  auto columns = *tiny_columns();
  columns.ids = {data::Strings({"u9", "u1"}), data::Strings({"i2", "i0", "i1"})};
  columns.scene_names = {"watch", "phone"};
  data::FitOptions options;
  options.user = "user";
  options.item = "item";
  options.min_count = 1;
  return data::fit_schema(columns, torch::arange(columns.rows), options);
}

int64_t row_of(const data::Schema& schema, int64_t field, const std::string& id) {
  const auto ids = schema.categorical[field].ids.list();
  return data::kFirstId + (std::find(ids.begin(), ids.end(), id) - ids.begin());
}

}  // namespace

TEST_CASE("carry: within one schema everything is copied") {
  const auto schema = tiny_schema();
  torch::manual_seed(1);
  MFImpl source(schema, MFOptions().dim(3)), target(schema, MFOptions().dim(3));
  const auto report = carry(target, source);
  CHECK(report.copied.size() == 5);
  CHECK(report.unmatched.empty());
  CHECK(report.unused.empty());
  CHECK(torch::equal(target.user->weight, source.user->weight));
}

TEST_CASE("carry: between schemas rows follow their ids, new ids keep their rows") {
  const auto from = tiny_schema(), to = other_schema();
  torch::manual_seed(1);
  MFImpl source(from, MFOptions().dim(3)), target(to, MFOptions().dim(3));
  const auto newcomer = target.user->weight[row_of(*to, 0, "u9")].clone();
  const auto report = carry(target, source);
  for (const auto* id : {"i0", "i1", "i2"}) {
    CHECK(torch::equal(target.item->weight[row_of(*to, 1, id)], source.item->weight[row_of(*from, 1, id)]));
  }
  CHECK(torch::equal(target.user->weight[row_of(*to, 0, "u1")], source.user->weight[row_of(*from, 0, "u1")]));
  CHECK(torch::equal(target.user->weight[row_of(*to, 0, "u9")], newcomer));
  CHECK(report.rows.at("user.weight") == 3);  // unknown, missing and u1
  CHECK(report.rows.at("item.weight") == 5);
  CHECK(report.copied == std::vector<std::string>{"mean"});
}

TEST_CASE("carry: what does not match keeps its value and is told") {
  const auto from = tiny_schema(), to = other_schema();
  LogisticImpl source(from), target(to);
  {
    torch::NoGradGuard no_grad;
    source.scene.fill_(4);
    source.fields->weight.fill_(2);
  }
  const auto report = carry(target, source);
  CHECK(report.unmatched == std::vector<std::string>{"scene: the scenes differ"});
  CHECK(target.scene.abs().max().item<float>() == 0);
  CHECK(report.by_id == std::vector<std::string>{"fields.weight"});
  CHECK(report.rows.at("fields.weight") == 8);
  CHECK(target.fields->weight.eq(2).sum().item<int64_t>() == 8);

  MFImpl narrow(from, MFOptions().dim(2)), wide(from, MFOptions().dim(3));
  const auto widths = carry(wide, narrow);
  CHECK(widths.unmatched == std::vector<std::string>{"user.weight: [4, 3] here, [4, 2] in the source",
                                                     "item.weight: [5, 3] here, [5, 2] in the source"});
  const auto kinds = carry(wide, source);
  CHECK(kinds.unmatched.size() == 5);
  CHECK(kinds.unmatched.front() == "mean: the source has none");
  CHECK(kinds.unused.size() == 4);
}
