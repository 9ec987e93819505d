#include "polyscene/data/catalogue.h"

#include <algorithm>

namespace polyscene::data {
namespace {

// The numbers of a row in which every numeric column is missing, [M].
torch::Tensor missing_numbers(const Schema& schema) {
  std::vector<float> out;
  for (const auto& field : schema.numeric) {
    const auto value = field.outliers == "clip" ? std::clamp(field.fill, field.low, field.high) : field.fill;
    out.push_back(static_cast<float>((value - field.shift) / field.scale));
    if (field.width() == 2) out.push_back(1);
  }
  return torch::tensor(out, torch::kFloat32);
}

// `values` [ids, M] in the numeric columns of `side`, 0 elsewhere.
torch::Tensor side_numeric(const Schema& schema, const std::string& side, const torch::Tensor& values) {
  auto out = torch::zeros_like(values);
  int64_t column = 0;
  for (const auto& field : schema.numeric) {
    for (int64_t k = 0; k < field.width(); ++k, ++column) {
      if (field.side == side) out.select(1, column).copy_(values.select(1, column));
    }
  }
  return out;
}

}  // namespace

Catalogue::Side::Side(const Schema& of, int64_t field, const char* side) : schema(of), name(side) {
  const auto ids = schema.categorical[field].rows();
  fields = torch::zeros({ids, schema.num_fields()}, torch::kInt32);
  sums = torch::zeros({ids, schema.numeric_width()}, torch::kFloat64);
  rows = torch::zeros({ids}, torch::kInt64);
}

void Catalogue::Side::add(const Batch& batch, const torch::Tensor& id) {
  const auto n = id.numel(), width = fields.size(1);
  const auto* at = id.const_data_ptr<int64_t>();
  const auto* from = batch.categorical.const_data_ptr<int32_t>();
  auto* count = rows.data_ptr<int64_t>();
  auto* to = fields.data_ptr<int32_t>();
  std::vector<int64_t> first, ids;
  for (int64_t i = 0; i < n; ++i) {
    if (count[at[i]]++ > 0) continue;
    first.push_back(i);
    ids.push_back(at[i]);
    for (int64_t f = 0; f < width; ++f) {
      if (schema.categorical[f].side == name) to[at[i] * width + f] = from[i * width + f];
    }
  }
  is_first = torch::tensor(first, torch::kInt64);
  fresh = torch::tensor(ids, torch::kInt64);
  sums.index_add_(0, id, batch.numeric.to(torch::kFloat64));
}

torch::Tensor Catalogue::Side::means() const { return (sums / rows.clamp_min(1).unsqueeze(1)).to(torch::kFloat32); }

void Catalogue::FirstLists::add(const Ragged& lists, const Side& side) {
  if (!lists.defined()) return;
  parts.push_back(lists.take(side.is_first));
  ids.push_back(side.fresh);
}

Ragged Catalogue::FirstLists::of_ids(int64_t count) const {
  if (parts.empty()) return {};
  std::vector<torch::Tensor> values;
  auto lengths = torch::zeros({count}, torch::kInt64);
  for (size_t p = 0; p < parts.size(); ++p) {
    values.push_back(parts[p].values);
    lengths.index_put_({ids[p]}, parts[p].offsets.diff());
  }
  const auto order = torch::cat(ids);
  const auto all = torch::cat(values);
  const auto start = torch::zeros({order.numel() + 1}, torch::kInt64);
  start.slice(0, 1).copy_(lengths.index_select(0, order).cumsum(0));
  // Lists as they came -> lists in the order of the ids; an id without rows has none.
  const auto sorted = Ragged{all, start}.take(order.argsort());
  return {sorted.values, torch::cat({torch::zeros({1}, torch::kInt64), lengths.cumsum(0)})};
}

Catalogue::Catalogue(const Schema& schema)
    : schema_(schema), item_(schema, schema.item, "item"), user_(schema, schema.user, "user") {
  count_ = torch::zeros({schema.num_scenes(), item_.rows.numel()}, torch::kInt64);
}

void Catalogue::add(const Batch& batch) {
  item_.add(batch, batch.item);
  user_.add(batch, batch.user);
  interest_.add(batch.interest, item_);
  for (const auto& field : schema_.lists) {
    if (field.kind == "multi_hot") lists_[field.name].add(batch.sequence.at(field.name), item_);
  }
  count_.view({-1}).index_add_(0, batch.scene * count_.size(1) + batch.item,
                               torch::ones({batch.size()}, torch::kInt64));
}

void Catalogue::write(History& out) const {
  const auto items = item_.rows.numel(), users = user_.rows.numel();
  out.item_fields = item_.fields;
  out.user_fields = user_.fields;
  // The id fields themselves, whatever was seen.
  out.item_fields.select(1, schema_.item).copy_(torch::arange(items));
  out.user_fields.select(1, schema_.user).copy_(torch::arange(users));
  out.item_numeric = side_numeric(schema_, "item", item_.means());
  // Nobody's numbers, and those of the moment, are not known when items are recommended: they are missing, and not 0.
  const auto missing = missing_numbers(schema_);
  const auto user_means = torch::where(user_.rows.gt(0).unsqueeze(1), user_.means(), missing);
  out.user_numeric =
      side_numeric(schema_, "user", user_means) + side_numeric(schema_, "context", missing.expand({users, -1}));
  out.item_interest = interest_.of_ids(items);
  for (const auto& [name, lists] : lists_) out.item_lists[name] = lists.of_ids(items);
  out.item_count = count_;
}

}  // namespace polyscene::data
