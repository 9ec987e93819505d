#include <algorithm>
#include <cmath>
#include <set>

#include "polyscene/core/errors.h"
#include "polyscene/core/random.h"
#include "polyscene/data/classes.h"
#include "polyscene/data/schema.h"

namespace polyscene::data {
namespace {

using Rows = c10::ArrayRef<int64_t>;

constexpr size_t kFittedRows = size_t{1} << 25;  // at most, for numeric columns

// "interest_10" comes after "interest_2".
bool natural_less(std::string_view a, std::string_view b) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (digit(a[i]) && digit(b[j])) {
      const size_t i0 = i, j0 = j;
      while (i < a.size() && digit(a[i])) ++i;
      while (j < b.size() && digit(b[j])) ++j;
      auto left = a.substr(i0, i - i0), right = b.substr(j0, j - j0);
      while (left.size() > 1 && left[0] == '0') left.remove_prefix(1);
      while (right.size() > 1 && right[0] == '0') right.remove_prefix(1);
      if (left.size() != right.size()) return left.size() < right.size();
      if (left != right) return left < right;
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i, ++j;
    }
  }
  return a.size() - i < b.size() - j || (a.size() - i == b.size() - j && a < b);
}

// Ids seen at least `min_count` times; most frequent first, equal ones by name, so that the order comes from training
// rows alone.
Strings vocabulary(const Strings& ids, const std::vector<int64_t>& counts, int64_t min_count) {
  std::vector<int64_t> kept;
  for (int64_t code = 0; code < ids.size(); ++code) {
    if (counts[code] >= std::max<int64_t>(min_count, 1)) kept.push_back(code);
  }
  std::sort(kept.begin(), kept.end(), [&](int64_t a, int64_t b) {
    return counts[a] != counts[b] ? counts[a] > counts[b] : ids.at(a) < ids.at(b);
  });
  std::vector<std::string> names;
  names.reserve(kept.size());
  for (const auto code : kept) names.emplace_back(ids.at(code));
  return Strings(names);
}

// Rows of each code of each categorical column. One pass over the codes: they may lie in a large file.
std::vector<std::vector<int64_t>> count_codes(const Columns& columns, Rows rows) {
  constexpr size_t kPart = 1 << 14;
  const auto width = columns.categorical.size();
  std::vector<std::vector<int64_t>> counts;
  for (const auto& ids : columns.ids) counts.emplace_back(ids.size());
  const auto* codes = width > 0 ? columns.codes.const_data_ptr<int32_t>() : nullptr;
  for (size_t begin = 0; begin < rows.size(); begin += kPart) {
    const auto part = rows.slice(begin, std::min(kPart, rows.size() - begin));
    for (size_t f = 0; f < width; ++f) {
      for (const auto row : part) {
        if (const auto code = codes[row * static_cast<int64_t>(width) + static_cast<int64_t>(f)]; code >= 0)
          ++counts[f][code];
      }
    }
  }
  return counts;
}

std::vector<int64_t> count_list(const Ragged& list, int64_t size, Rows rows) {
  std::vector<int64_t> counts(size);
  const auto* offsets = list.offsets.const_data_ptr<int64_t>();
  const auto* values = list.values.const_data_ptr<int32_t>();
  for (const auto row : rows) {
    for (auto i = offsets[row]; i < offsets[row + 1]; ++i) {
      if (values[i] >= 0) ++counts[values[i]];
    }
  }
  return counts;
}

// Whether `value(row)` never differs between training rows of the same id, with some id seen twice.
template <typename Value>
bool is_function_of(const Columns& columns, int64_t id_field, Rows rows, Value value) {
  const auto width = static_cast<int64_t>(columns.categorical.size());
  const auto* codes = columns.codes.const_data_ptr<int32_t>();
  std::vector<int64_t> first(columns.ids[id_field].size(), -1);
  int64_t repeated = 0;
  for (const auto row : rows) {
    const auto id = codes[row * width + id_field];
    if (id < 0) continue;
    if (first[id] < 0) {
      first[id] = row;
    } else if (!(value(first[id]) == value(row))) {
      return false;
    } else {
      ++repeated;
    }
  }
  return repeated > 0;
}

template <typename Value>
std::string side_of(const Columns& columns, int64_t user, int64_t item, Rows rows, Value value) {
  if (user >= 0 && is_function_of(columns, user, rows, value)) return "user";
  if (item >= 0 && is_function_of(columns, item, rows, value)) return "item";
  return "context";
}

double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const auto above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

void check_choice(const NumericField& field, const char* option, const std::string& given,
                  const std::vector<std::string>& known) {
  TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), given) != known.end(), "numeric column '", field.name,
                    "': ", option, " must be one of ", join(known), ", got '", given, "'", suggestion(given, known));
}

void fit_numeric(NumericField& field, const Columns& columns, int64_t column, Rows rows) {
  check_choice(field, "scaling", field.scaling, {"z_score", "min_max", "zero_mean", "median", "none"});
  check_choice(field, "missing", field.missing, {"mean", "median", "knn", "category"});
  check_choice(field, "outliers", field.outliers, {"keep", "clip", "drop", "interpolate"});
  const auto width = static_cast<int64_t>(columns.numeric.size());
  const auto* numbers = columns.numbers.const_data_ptr<float>();
  // Rows that are too many to be held are represented by some of them, evenly spaced.
  const auto step = (rows.size() + kFittedRows - 1) / kFittedRows;
  const auto looked_at = (rows.size() + step - 1) / step;
  std::vector<double> values;
  values.reserve(looked_at);
  for (size_t i = 0; i < rows.size(); i += step) {
    if (const double value = numbers[rows[i] * width + column]; !std::isnan(value)) values.push_back(value);
  }
  TORCH_CHECK_VALUE(!values.empty(), "numeric column '", field.name, "': no training row has a value");
  std::sort(values.begin(), values.end());
  if (field.outliers != "keep") {
    const double low = quantile(values, 0.25), high = quantile(values, 0.75);
    field.low = low - 1.5 * (high - low);
    field.high = high + 1.5 * (high - low);
    if (field.outliers == "clip") {
      for (auto& value : values) value = std::clamp(value, field.low, field.high);
    }
  }
  double sum = 0;
  for (const auto value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  const double median = quantile(values, 0.5);
  field.fill = field.missing == "median" ? median : mean;
  // Scaling sees the column as a model does: missing values filled.
  const double n = static_cast<double>(looked_at);
  const auto filled = n - static_cast<double>(values.size());
  const double filled_mean = (sum + filled * field.fill) / n;
  double squares = filled * (field.fill - filled_mean) * (field.fill - filled_mean);
  for (const auto value : values) squares += (value - filled_mean) * (value - filled_mean);
  field.shift = 0;
  field.scale = 1;
  if (field.scaling == "z_score") {
    field.shift = filled_mean;
    field.scale = std::sqrt(squares / n);
  } else if (field.scaling == "min_max") {
    field.shift = values.front();
    field.scale = values.back() - values.front();
  } else if (field.scaling == "zero_mean") {
    field.shift = filled_mean;
  } else if (field.scaling == "median") {
    const auto missing = static_cast<size_t>(filled);
    values.insert(values.end(), missing, field.fill);
    std::sort(values.begin(), values.end());
    field.shift = quantile(values, 0.5);
  }
  if (!(field.scale > 0)) field.scale = 1;
}

int64_t id_field(const Schema& schema, const std::string& role, const std::string& name) {
  if (name.empty()) return -1;
  for (size_t f = 0; f < schema.categorical.size(); ++f) {
    if (schema.categorical[f].name == name) return static_cast<int64_t>(f);
  }
  std::vector<std::string> known;
  for (const auto& field : schema.categorical) known.push_back(field.name);
  TORCH_CHECK_VALUE(false, role, " must be a categorical column, got '", name, "'; categorical columns: ", join(known),
                    suggestion(name, known));
}

template <typename Wanted>
void check_known(const std::vector<Wanted>& wanted, const std::vector<std::string>& known, const char* what) {
  for (const auto& field : wanted) {
    TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), field.name) != known.end(), "unknown ", what, " column '",
                      field.name, "'; known ones: ", join(known), suggestion(field.name, known));
  }
}

void check_kind(const ListField& field, const Ragged& codes) {
  static const std::vector<std::string> kKinds = {"multi_hot", "sequence", "text", "image"};
  TORCH_CHECK_VALUE(std::find(kKinds.begin(), kKinds.end(), field.kind) != kKinds.end(), "list column '", field.name,
                    "': kind must be multi_hot, sequence, text or image, got '", field.kind, "'");
  const bool pixels = codes.values.scalar_type() == torch::kUInt8;
  TORCH_CHECK_VALUE(pixels == (field.kind == "image"), "list column '", field.name, "': kind ", field.kind, " wants ",
                    field.kind == "image" ? "pixels (uint8)" : "codes of ids (int32)", ", got ",
                    codes.values.scalar_type());
}

void check_unique(const Columns& columns) {
  std::set<std::string> seen;
  for (const auto* names : {&columns.categorical, &columns.numeric, &columns.lists}) {
    for (const auto& name : *names) TORCH_CHECK_VALUE(seen.insert(name).second, "column '", name, "' is named twice");
  }
}

void fit_labels(Schema& schema, const Columns& columns, Rows rows) {
  const auto scenes = static_cast<int64_t>(schema.scenes.size());
  schema.scene_rows = torch::zeros({scenes}, torch::kInt64);
  schema.scene_label = torch::zeros({scenes}, torch::kFloat64);
  std::vector<int64_t> scene_of(columns.scene_names.size(), -1);
  for (int64_t s = 0; s < scenes; ++s) {
    const auto at = std::find(columns.scene_names.begin(), columns.scene_names.end(), schema.scenes[s]);
    scene_of[at - columns.scene_names.begin()] = s;
  }
  auto* counts = schema.scene_rows.data_ptr<int64_t>();
  auto* sums = schema.scene_label.data_ptr<double>();
  const auto* scene = columns.scene.const_data_ptr<int32_t>();
  const auto* label = columns.label.defined() ? columns.label.const_data_ptr<float>() : nullptr;
  double total = 0;
  schema.label_low = INFINITY;
  schema.label_high = -INFINITY;
  for (const auto row : rows) {
    const auto s = scene_of[scene[row]];
    ++counts[s];
    if (!label) continue;
    const double y = label[row];
    TORCH_CHECK_VALUE(std::isfinite(y), "label column '", schema.label, "', row ", row + 1, ": wanted a number, got ",
                      y);
    TORCH_CHECK_VALUE(schema.task != "ctr" || y == 0 || y == 1, "label column '", schema.label, "', row ", row + 1,
                      ": task ctr wants 0 or 1, got ", y, "; map it with label={\"column\": ..., \"at_least\": ...}");
    TORCH_CHECK_VALUE(!has_classes(schema.task) || (y >= 0 && y == std::floor(y)), "label column '", schema.label,
                      "', row ", row + 1, ": task ", schema.task, " wants the number of a class, got ", y);
    sums[s] += y;
    total += y;
    schema.label_low = std::min(schema.label_low, y);
    schema.label_high = std::max(schema.label_high, y);
  }
  for (int64_t s = 0; s < scenes; ++s) sums[s] /= static_cast<double>(std::max<int64_t>(counts[s], 1));
  if (label) {
    schema.label_mean = total / static_cast<double>(rows.size());
  } else {
    schema.label_low = 0;
    schema.label_high = 1;
  }
}

}  // namespace

torch::Tensor scene_profiles(const Columns& columns, const torch::Tensor& given) {
  constexpr int64_t kBuckets = 256;
  const auto width = static_cast<int64_t>(columns.categorical.size());
  std::vector<std::vector<int32_t>> bucket(width);
  for (int64_t f = 0; f < width; ++f) {
    const auto start = hash64(columns.categorical[f]);
    for (int64_t code = 0; code < columns.ids[f].size(); ++code) {
      bucket[f].push_back(static_cast<int32_t>(hash64(columns.ids[f].at(code), start) % kBuckets));
    }
  }
  auto out = torch::zeros({static_cast<int64_t>(columns.scene_names.size()), kBuckets}, torch::kFloat64);
  const auto rows = given.contiguous();
  auto* sums = out.data_ptr<double>();
  const auto* codes = width > 0 ? columns.codes.const_data_ptr<int32_t>() : nullptr;
  const auto* scene = columns.scene.const_data_ptr<int32_t>();
  const auto* row = rows.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows.numel(); ++i) {
    for (int64_t f = 0; f < width; ++f) {
      if (const auto code = codes[row[i] * width + f]; code >= 0) sums[scene[row[i]] * kBuckets + bucket[f][code]] += 1;
    }
  }
  return out / out.sum(1, true).clamp_min(1);
}

std::shared_ptr<const Schema> fit_schema(const Columns& columns, const torch::Tensor& train_rows,
                                         const FitOptions& options) {
  TORCH_CHECK_VALUE(train_rows.defined() && train_rows.dim() == 1 && train_rows.scalar_type() == torch::kInt64,
                    "fit_schema: train_rows must be an int64 vector");
  TORCH_CHECK_VALUE(train_rows.numel() > 0, "fit_schema: no training rows; the split left none");
  const auto held = train_rows.contiguous();
  const Rows rows(held.const_data_ptr<int64_t>(), held.numel());
  const auto [low, high] = std::minmax_element(rows.begin(), rows.end());
  TORCH_CHECK_INDEX(*low >= 0 && *high < columns.rows, "fit_schema: training rows must be in [0, ", columns.rows,
                    "), got ", *low < 0 ? *low : *high);
  static const std::vector<std::string> kUnseen = {"error", "shared", "nearest"};
  TORCH_CHECK_VALUE(std::find(kUnseen.begin(), kUnseen.end(), options.unseen_scene) != kUnseen.end(),
                    "unseen_scene must be one of ", join(kUnseen), ", got '", options.unseen_scene, "'",
                    suggestion(options.unseen_scene, kUnseen));
  TORCH_CHECK_VALUE(options.min_count >= 1, "min_count must be at least 1, got ", options.min_count);
  check_unique(columns);
  check_known(options.numeric, columns.numeric, "numeric");
  check_known(options.lists, columns.lists, "list");

  auto schema = std::make_shared<Schema>();
  schema->task = options.task;
  schema->label = options.label;
  schema->unseen_scene = options.unseen_scene;
  schema->reader = options.reader;
  schema->has_time = columns.time.defined();
  const auto counts = count_codes(columns, rows);
  for (size_t f = 0; f < columns.categorical.size(); ++f) {
    schema->categorical.push_back(
        {columns.categorical[f], vocabulary(columns.ids[f], counts[f], options.min_count), options.min_count});
  }
  schema->user = id_field(*schema, "user", options.user);
  schema->item = id_field(*schema, "item", options.item);
  const auto width = static_cast<int64_t>(columns.categorical.size());
  const auto* codes = width > 0 ? columns.codes.const_data_ptr<int32_t>() : nullptr;
  for (int64_t f = 0; f < width; ++f) {
    auto& field = schema->categorical[f];
    field.side = f == schema->user   ? "user"
                 : f == schema->item ? "item"
                                     : side_of(columns, schema->user, schema->item, rows,
                                               [&](int64_t row) { return codes[row * width + f]; });
  }
  for (size_t m = 0; m < columns.numeric.size(); ++m) {
    NumericField field;
    field.name = columns.numeric[m];
    for (const auto& wanted : options.numeric) {
      if (wanted.name == field.name) field = wanted;
    }
    const auto column = static_cast<int64_t>(m);
    fit_numeric(field, columns, column, rows);
    const auto numbers = static_cast<int64_t>(columns.numeric.size());
    const auto* values = columns.numbers.const_data_ptr<float>();
    field.side = side_of(columns, schema->user, schema->item, rows, [&](int64_t row) {
      const auto value = values[row * numbers + column];
      return std::isnan(value) ? INFINITY : value;
    });
    schema->numeric.push_back(field);
  }
  for (size_t l = 0; l < columns.lists.size(); ++l) {
    ListField field;
    field.name = columns.lists[l];
    for (const auto& wanted : options.lists) {
      if (wanted.name == field.name) field = wanted;
    }
    check_kind(field, columns.list_codes[l]);
    TORCH_CHECK_VALUE(field.max_length > 0, "list column '", field.name, "': max_length must be positive, got ",
                      field.max_length);
    if (field.kind == "image") {  // pixels are numbers: there is nothing to learn of them
      TORCH_CHECK_VALUE(field.shares.empty(), "image column '", field.name, "': pixels share no ids");
    } else if (field.shares.empty()) {
      const auto counts = count_list(columns.list_codes[l], columns.list_ids[l].size(), rows);
      field.ids = vocabulary(columns.list_ids[l], counts, options.min_count);
    } else {
      id_field(*schema, "list column '" + field.name + "': shares", field.shares);
    }
    schema->lists.push_back(field);
  }
  std::vector<char> seen(columns.scene_names.size());
  const auto* scene = columns.scene.const_data_ptr<int32_t>();
  for (const auto row : rows) seen[scene[row]] = 1;
  std::vector<int64_t> kept;
  for (size_t s = 0; s < seen.size(); ++s) {
    if (!seen[s]) continue;
    schema->scenes.push_back(columns.scene_names[s]);
    kept.push_back(static_cast<int64_t>(s));
  }
  schema->scene_profile = scene_profiles(columns, held).index_select(0, torch::tensor(kept));
  if (columns.interest.defined()) {
    const auto counts = count_list(columns.interest, columns.interest_ids.size(), rows);
    std::vector<std::string> names;
    for (int64_t i = 0; i < columns.interest_ids.size(); ++i) {
      if (counts[i] > 0) names.emplace_back(columns.interest_ids.at(i));
    }
    std::sort(names.begin(), names.end(), natural_less);
    schema->interests = Strings(names);
  }
  fit_labels(*schema, columns, rows);
  return schema;
}

}  // namespace polyscene::data
