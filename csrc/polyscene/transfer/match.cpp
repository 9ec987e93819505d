#include "polyscene/transfer/match.h"

#include <algorithm>
#include <unordered_map>

#include "polyscene/core/named_tensors.h"
#include "polyscene/data/classes.h"
#include "polyscene/transfer/tables.h"

namespace polyscene::transfer {
namespace {

const TableLayout* layout_of(const std::vector<TableLayout>& all, const std::string& parameter) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& x) { return x.parameter == parameter; });
  return found == all.end() || found->fields.empty() ? nullptr : &*found;
}

// Ids of a field or of a list with rows of its own; null when there is none of that name.
const data::Strings* ids_of(const data::Schema& schema, const FieldRange& range) {
  for (const auto& field : schema.categorical) {
    if (!range.list && field.name == range.field) return &field.ids;
  }
  for (const auto& list : schema.lists) {
    if (range.list && list.name == range.field) return &list.ids;
  }
  return nullptr;
}

// Rows of the target and the rows of the source that hold the same ids.
std::pair<std::vector<int64_t>, std::vector<int64_t>> pair_rows(const TableLayout& to, const data::Schema& to_schema,
                                                                const TableLayout& from,
                                                                const data::Schema& from_schema) {
  std::vector<int64_t> into, out;
  for (const auto& range : to.fields) {
    const auto other = std::find_if(from.fields.begin(), from.fields.end(),
                                    [&](const auto& x) { return x.field == range.field && x.list == range.list; });
    if (other == from.fields.end()) continue;
    const auto *mine = ids_of(to_schema, range), *theirs = ids_of(from_schema, *other);
    if (!mine || !theirs) continue;
    for (int64_t special = 0; special < data::kFirstId; ++special) {
      into.push_back(range.offset + special);
      out.push_back(other->offset + special);
    }
    std::unordered_map<std::string_view, int64_t> row;
    for (int64_t i = 0; i < theirs->size(); ++i) row.emplace(theirs->at(i), other->offset + data::kFirstId + i);
    for (int64_t i = 0; i < mine->size(); ++i) {
      const auto found = row.find(mine->at(i));
      if (found == row.end()) continue;
      into.push_back(range.offset + data::kFirstId + i);
      out.push_back(found->second);
    }
  }
  return {into, out};
}

// Whether a tensor is of the layer that ends in one row a class: "output" or "scene_output", wherever it lies.
bool of_classes(const std::string& name) {
  const auto path = "." + name;
  return path.find(".output.") != std::string::npos || path.find("_output.") != std::string::npos;
}

// Whether a tensor has a row or a column an interest.
bool of_interests(const std::string& name) {
  return name.find("interest") != std::string::npos || name.find("transition") != std::string::npos;
}

}  // namespace

Matched carry(models::Model& target, const models::Model& source) {
  const torch::NoGradGuard no_grad;
  Matched out;
  std::map<std::string, torch::Tensor> theirs;
  for (const auto& item : named_tensors(source)) theirs[item.name] = item.tensor;
  const auto &mine = target.schema(), &other = source.schema();
  const bool same = mine.digest() == other.digest();
  const bool scenes = mine.scenes == other.scenes && mine.num_scenes() == other.num_scenes();
  const bool interests = mine.interests.list() == other.interests.list();
  const bool classes = data::class_names(mine) == data::class_names(other);
  const auto to_tables = layouts(target), from_tables = layouts(source);
  const auto tables = target.table_parameters();

  for (const auto& item : named_tensors(target)) {
    const auto found = theirs.find(item.name);
    if (found == theirs.end()) {
      out.unmatched.push_back(item.name + ": the source has none");
      continue;
    }
    const auto from = found->second;
    theirs.erase(found);
    auto to = item.tensor;
    if (!same && std::find(tables.begin(), tables.end(), item.name) != tables.end()) {
      const auto *to_layout = layout_of(to_tables, item.name), *from_layout = layout_of(from_tables, item.name);
      if (!to_layout || !from_layout) {
        out.unmatched.push_back(item.name + ": which field its rows belong to is not known");
      } else if (to.sizes().slice(1) != from.sizes().slice(1)) {
        out.unmatched.push_back(item.name + ": rows of another width");
      } else {
        const auto [into, rows] = pair_rows(*to_layout, mine, *from_layout, other);
        to.index_copy_(0, torch::tensor(into, torch::kInt64),
                       from.index_select(0, torch::tensor(rows, torch::kInt64)).to(to.scalar_type()));
        out.by_id.push_back(item.name);
        out.rows[item.name] = static_cast<int64_t>(into.size());
      }
      continue;
    }
    if (to.sizes() != from.sizes()) {
      out.unmatched.push_back(c10::str(item.name, ": ", to.sizes(), " here, ", from.sizes(), " in the source"));
    } else if (!same && !scenes && item.name.find("scene") != std::string::npos) {
      out.unmatched.push_back(item.name + ": the scenes differ");
    } else if (!same && !interests && of_interests(item.name)) {
      out.unmatched.push_back(item.name + ": the interests differ");
    } else if (!same && !classes && of_classes(item.name)) {
      out.unmatched.push_back(item.name + ": the classes differ");
    } else {
      to.copy_(from);
      out.copied.push_back(item.name);
    }
  }
  for (const auto& entry : theirs) out.unused.push_back(entry.first);
  return out;
}

}  // namespace polyscene::transfer
