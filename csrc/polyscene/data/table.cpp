#include "polyscene/data/table.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/core/random.h"
#include "polyscene/core/sha256.h"
#include "polyscene/data/images.h"
#include "polyscene/data/positions.h"
#include "polyscene/data/steps.h"

namespace polyscene::data {
namespace {

constexpr int64_t kGrain = 1024;
constexpr int64_t kAhead = 8;        // source rows that are on their way while one is read
constexpr int64_t kLine = 16;        // numbers in a line of the cache
constexpr size_t kCached = 1 << 13;  // numbers that the nearest caches hold

std::vector<int32_t> map_codes(const Strings& source, const Strings& vocabulary) {
  const auto index = vocabulary.index();
  std::vector<int32_t> out(source.size(), static_cast<int32_t>(kUnknown));
  for (int64_t code = 0; code < source.size(); ++code) {
    const auto found = index.find(source.at(code));
    if (found != index.end()) out[code] = static_cast<int32_t>(found->second + kFirstId);
  }
  return out;
}

int64_t position_of(const std::vector<std::string>& names, const std::string& name, const char* kind) {
  const auto found = std::find(names.begin(), names.end(), name);
  TORCH_CHECK_VALUE(found != names.end(), "table: the schema wants ", kind, " column '", name,
                    "'; the data has: ", names.empty() ? "none" : join(names), suggestion(name, names));
  return found - names.begin();
}

std::vector<int32_t> map_scenes(const Columns& columns, const Schema& schema, const torch::Tensor& rows) {
  std::vector<char> used(columns.scene_names.size());
  const auto* scene = columns.scene.const_data_ptr<int32_t>();
  const auto n = rows.defined() ? rows.numel() : columns.rows;
  const auto* row = rows.defined() ? rows.const_data_ptr<int64_t>() : nullptr;
  for (int64_t i = 0; i < n; ++i) used[scene[row ? row[i] : i]] = 1;
  torch::Tensor profiles;
  std::vector<int32_t> out(columns.scene_names.size(), -1);
  for (size_t s = 0; s < out.size(); ++s) {
    const auto found = std::find(schema.scenes.begin(), schema.scenes.end(), columns.scene_names[s]);
    if (found != schema.scenes.end()) {
      out[s] = static_cast<int32_t>(found - schema.scenes.begin());
    } else if (!used[s]) {
      continue;
    } else if (schema.unseen_scene == "shared") {
      out[s] = static_cast<int32_t>(schema.scenes.size());
    } else if (schema.unseen_scene == "nearest") {
      if (!profiles.defined()) profiles = scene_profiles(columns, rows.defined() ? rows : torch::arange(n));
      const auto distance = (schema.scene_profile - profiles[static_cast<int64_t>(s)]).abs().sum(1);
      out[s] = static_cast<int32_t>(distance.argmin().item<int64_t>());
    } else {
      TORCH_CHECK_VALUE(
          false, "table: scene '", columns.scene_names[s],
          "' was not seen in training; known scenes: ", join(schema.scenes),
          "; a model takes rows of new ones when it was trained with dataset.unseen_scene 'shared' or 'nearest' "
          "(read_table(..., unseen_scene=...))",
          suggestion(columns.scene_names[s], schema.scenes));
    }
  }
  return out;
}

std::shared_ptr<const Encoding> encode(const Columns& columns, const Schema& schema, const torch::Tensor& rows) {
  auto out = std::make_shared<Encoding>();
  for (const auto& field : schema.categorical) {
    out->column.push_back(position_of(columns.categorical, field.name, "categorical"));
    out->categorical.push_back(map_codes(columns.ids[out->column.back()], field.ids));
    const auto& map = out->categorical.back();
    int32_t next = static_cast<int32_t>(kFirstId);
    out->direct.push_back(std::all_of(map.begin(), map.end(), [&](int32_t row) { return row == next++; }));
  }
  for (const auto& field : schema.numeric) out->number.push_back(position_of(columns.numeric, field.name, "numeric"));
  for (const auto& list : schema.lists) {
    out->list.push_back(position_of(columns.lists, list.name, "list"));
    if (list.kind == "image") {
      out->lists.emplace_back();
      continue;
    }
    const auto& vocabulary = list.shares.empty() ? list.ids : schema.categorical[schema.field(list.shares)].ids;
    out->lists.push_back(map_codes(columns.list_ids[out->list.back()], vocabulary));
  }
  out->scene = map_scenes(columns, schema, rows);
  if (schema.num_interests() > 0 && columns.interest.defined()) {
    const auto index = schema.interests.index();
    for (int64_t code = 0; code < columns.interest_ids.size(); ++code) {
      const auto found = index.find(columns.interest_ids.at(code));
      out->interest.push_back(found == index.end() ? -1 : static_cast<int32_t>(found->second));
    }
  }
  return out;
}

// Lists of the given source rows, mapped; codes that map below `first` are left out, the newest `longest` are kept.
Ragged gather_list(const Ragged& source, const std::vector<int32_t>& map, const std::vector<int64_t>& rows,
                   int32_t first, int64_t longest) {
  const auto* offsets = source.offsets.const_data_ptr<int64_t>();
  const auto* values = source.values.const_data_ptr<int32_t>();
  Ragged out{{}, torch::zeros({static_cast<int64_t>(rows.size()) + 1}, torch::kInt64)};
  auto* end = out.offsets.data_ptr<int64_t>();
  std::vector<int32_t> kept;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto start = std::max(offsets[rows[i]], offsets[rows[i] + 1] - longest);
    for (auto j = start; j < offsets[rows[i] + 1]; ++j) {
      const auto row = values[j] < 0 ? -1 : map[values[j]];
      if (row >= first) kept.push_back(row);
    }
    end[i + 1] = static_cast<int64_t>(kept.size());
  }
  out.values = torch::empty({static_cast<int64_t>(kept.size())}, torch::kInt32);
  std::copy(kept.begin(), kept.end(), out.values.data_ptr<int32_t>());
  return out;
}

template <typename T>
torch::Tensor gather(const torch::Tensor& column, const std::vector<int64_t>& rows) {
  auto out = torch::empty({static_cast<int64_t>(rows.size())}, column.options());
  const auto* from = column.const_data_ptr<T>();
  auto* to = out.template data_ptr<T>();
  at::parallel_for(0, out.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = from[rows[i]];
  });
  return out;
}

}  // namespace

Table::Table(std::shared_ptr<const Columns> columns, std::shared_ptr<const Schema> schema, torch::Tensor rows,
             std::string role)
    : columns_(std::move(columns)), schema_(std::move(schema)), rows_(std::move(rows)), role_(std::move(role)) {
  if (rows_.defined()) {
    TORCH_CHECK_VALUE(rows_.dim() == 1 && rows_.scalar_type() == torch::kInt64, "table: rows must be an int64 vector");
    rows_ = rows_.contiguous();
    if (rows_.numel() > 0) {
      const auto low = rows_.min().item<int64_t>(), high = rows_.max().item<int64_t>();
      TORCH_CHECK_INDEX(low >= 0 && high < columns_->rows, "table: rows must be in [0, ", columns_->rows, "), got ",
                        low < 0 ? low : high);
    }
  }
  size_ = rows_.defined() ? rows_.numel() : columns_->rows;
  encoding_ = encode(*columns_, *schema_, rows_);
}

int64_t Table::source_row(int64_t position) const {
  return rows_.defined() ? rows_.const_data_ptr<int64_t>()[position] : position;
}

void Table::gather_numbers(const std::vector<int64_t>& rows, Batch& out) const {
  const auto n = static_cast<int64_t>(rows.size()), width = schema_->numeric_width();
  out.numeric = torch::empty({n, width}, torch::kFloat32);
  if (width == 0) return;
  const auto columns = static_cast<int64_t>(columns_->numeric.size());
  const auto* raw = columns_->numbers.const_data_ptr<float>();
  auto* to = out.numeric.data_ptr<float>();
  for (size_t m = 0; m < schema_->numeric.size(); ++m) {
    const auto& field = schema_->numeric[m];
    const auto column = encoding_->number[m];
    const bool clip = field.outliers == "clip", flag = field.width() == 2;
    at::parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if (i + kAhead < end) __builtin_prefetch(raw + rows[i + kAhead] * columns + column);
        const double given = raw[rows[i] * columns + column];
        const bool missing = std::isnan(given);
        double value = missing ? field.fill : given;
        if (clip) value = std::clamp(value, field.low, field.high);
        to[i * width] = static_cast<float>((value - field.shift) / field.scale);
        if (flag) to[i * width + 1] = missing ? 1.0f : 0.0f;
      }
    });
    to += field.width();
  }
}

void Table::gather_categorical(const std::vector<int64_t>& rows, Batch& out) const {
  const auto n = static_cast<int64_t>(rows.size());
  const auto fields = schema_->num_fields();
  const auto width = static_cast<int64_t>(columns_->categorical.size());
  out.categorical = torch::empty({n, fields}, torch::kInt32);
  if (fields == 0) return;
  auto* to = out.categorical.data_ptr<int32_t>();
  const auto* codes = columns_->codes.const_data_ptr<int32_t>();
  const auto* column = encoding_->column.data();
  std::vector<const int32_t*> maps;
  std::vector<int64_t> large;  // fields whose maps the cache does not hold
  for (int64_t f = 0; f < fields; ++f) {
    maps.push_back(encoding_->direct[f] ? nullptr : encoding_->categorical[f].data());
    if (maps[f] && encoding_->categorical[f].size() > kCached) large.push_back(f);
  }
  at::parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (i + 2 * kAhead < end) {
        const auto* next = codes + rows[i + 2 * kAhead] * width;
        for (int64_t at = 0; at < width; at += kLine) __builtin_prefetch(next + at);
        __builtin_prefetch(next + width - 1);
      }
      if (i + kAhead < end) {
        const auto* next = codes + rows[i + kAhead] * width;
        for (const auto f : large) __builtin_prefetch(maps[f] + std::max(next[column[f]], 0));
      }
      const auto* from = codes + rows[i] * width;
      for (int64_t f = 0; f < fields; ++f) {
        const auto code = from[column[f]];
        to[i * fields + f] = static_cast<int32_t>(code < 0 ? kMissing : maps[f] ? maps[f][code] : code + kFirstId);
      }
    }
  });
}

void Table::gather_lists(const std::vector<int64_t>& rows, Batch& out) const {
  for (size_t l = 0; l < schema_->lists.size(); ++l) {
    const auto& field = schema_->lists[l];
    const auto& source = columns_->list_codes[encoding_->list[l]];
    if (field.kind == "image") {
      out.sequence[field.name] = pixels_of(source, rows);
      continue;
    }
    out.sequence[field.name] = gather_list(source, encoding_->lists[l], rows, 0,
                                           field.kind == "sequence" ? field.max_length : columns_->rows + INT32_MAX);
  }
  if (!encoding_->interest.empty()) {
    out.interest = gather_list(columns_->interest, encoding_->interest, rows, 0, INT32_MAX);
  }
}

bool Table::own_events(const ListField& field) const {
  return field.kind == "sequence" && schema_->item >= 0 && field.shares == schema_->categorical[schema_->item].name;
}

bool Table::has_events() const {
  const auto& lists = schema_->lists;
  return std::any_of(lists.begin(), lists.end(), [&](const auto& field) { return own_events(field); }) || sequences_ ||
         (history_ && history_->keeps_events());
}

Events Table::gather_sequences(const std::vector<int64_t>& rows, const Batch& out, int64_t length) const {
  const auto [events, offsets] = sequences_->before(rows, length);
  const auto n = events.numel();
  const std::vector<int64_t> source(events.const_data_ptr<int64_t>(), events.const_data_ptr<int64_t>() + n);
  Batch taken;
  gather_categorical(source, taken);
  Events mine;
  mine.offsets = offsets;
  mine.item = taken.categorical.select(1, schema_->item).contiguous();
  mine.scene = torch::empty({n}, torch::kInt64);
  const auto* scene = columns_->scene.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < n; ++i) mine.scene.data_ptr<int64_t>()[i] = encoding_->scene[scene[source[i]]];
  mine.label = columns_->label.defined() ? gather<float>(columns_->label, source) : torch::ones({n});
  mine.time = columns_->time.defined() ? gather<int64_t>(columns_->time, source) : torch::zeros({n}, torch::kInt64);
  if (!encoding_->interest.empty()) {
    mine.interest = gather_list(columns_->interest, encoding_->interest, source, 0, INT32_MAX);
  }
  // Of a scene that training did not know nothing can be said.
  if (n > 0 && mine.scene.min().item<int64_t>() < 0) mine = mine.keep(mine.scene.ge(0));
  // Rows of another source than the training rows go on where those end.
  if (history_ && history_->keeps_events() && history_->source.lock() != columns_) {
    mine = joined(history_->before(out.user, out.time, {}, length), mine).newest(length);
  }
  return mine;
}

Events Table::gather_history(const std::vector<int64_t>& rows, const Batch& out, int64_t length) const {
  for (const auto& field : schema_->lists) {
    if (!own_events(field)) continue;
    const auto& list = out.sequence.at(field.name);
    const auto counts = list.offsets.diff();
    Events events;
    events.offsets = list.offsets;
    events.item = list.values;
    events.scene = out.scene.repeat_interleave(counts);
    events.label = torch::ones({list.values.numel()});
    events.time = torch::zeros({list.values.numel()}, torch::kInt64);
    return events;
  }
  if (sequences_) return gather_sequences(rows, out, length);
  if (!history_ || !history_->keeps_events() || !out.user.defined()) return {};
  torch::Tensor source;
  if (history_->source.lock() == columns_) source = torch::tensor(rows, torch::kInt64);
  return history_->before(out.user, out.time, source, length);
}

Batch Table::batch(const torch::Tensor& positions, bool grouped, int64_t history, const RandomStream* shared) const {
  auto order = to_positions("table.batch: positions", positions);
  const auto n = order.numel();
  auto* position = order.data_ptr<int64_t>();
  const auto scenes = schema_->num_scenes();
  const auto* scene = columns_->scene.const_data_ptr<int32_t>();
  const auto* scene_map = encoding_->scene.data();
  const auto* source = rows_.defined() ? rows_.const_data_ptr<int64_t>() : nullptr;
  const bool lent = shared && schema_->unseen_scene == "shared";
  for (int64_t i = 0; i < n; ++i) {  // before the threads: of several wrong ones the first is named
    TORCH_CHECK_INDEX(position[i] >= 0 && position[i] < size_, "table.batch: positions must be in [0, ", size_,
                      "), got ", position[i]);
  }
  std::vector<int64_t> code(n);
  at::parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      code[i] = scene_map[scene[source ? source[position[i]] : position[i]]];
      if (lent && shared->below(scenes, position[i]) == 0) code[i] = scenes - 1;
    }
  });
  Batch out;
  if (grouped) {
    out.scene_offsets = torch::zeros({scenes + 1}, torch::kInt64);
    auto* offsets = out.scene_offsets.data_ptr<int64_t>();
    for (const auto s : code) ++offsets[s + 1];
    for (int64_t s = 0; s < scenes; ++s) offsets[s + 1] += offsets[s];
    std::vector<int64_t> next(offsets, offsets + scenes);
    const auto sorted = torch::empty({n}, torch::kInt64);
    auto* place = sorted.data_ptr<int64_t>();
    for (int64_t i = 0; i < n; ++i) place[next[code[i]]++] = position[i];
    order = sorted;
    position = place;
    for (int64_t s = 0; s < scenes; ++s) std::fill(code.begin() + offsets[s], code.begin() + offsets[s + 1], s);
  }
  std::vector<int64_t> rows(n);
  at::parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) rows[i] = source ? source[position[i]] : position[i];
  });
  out.row = order;
  out.scene = torch::empty({n}, torch::kInt64);
  std::copy(code.begin(), code.end(), out.scene.data_ptr<int64_t>());
  gather_categorical(rows, out);
  gather_numbers(rows, out);
  if (columns_->label.defined()) out.label = gather<float>(columns_->label, rows);
  if (columns_->weight.defined()) out.weight = gather<float>(columns_->weight, rows);
  if (columns_->time.defined()) out.time = gather<int64_t>(columns_->time, rows);
  if (schema_->user >= 0) out.user = out.categorical.select(1, schema_->user).to(torch::kInt64);
  if (schema_->item >= 0) out.item = out.categorical.select(1, schema_->item).to(torch::kInt64);
  gather_lists(rows, out);
  if (history > 0) out.history = gather_history(rows, out, history);
  if (schema_->task == "sequence" && out.history.defined()) add_next(out);
  out.schema_digest = schema_->digest();
  return out;
}

torch::Tensor Table::column(int64_t field) const {
  auto out = torch::empty({size_}, torch::kInt64);
  auto* to = out.data_ptr<int64_t>();
  const auto width = static_cast<int64_t>(columns_->categorical.size());
  const auto* codes = columns_->codes.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < size_; ++i) {
    const auto code = codes[source_row(i) * width + encoding_->column[field]];
    to[i] = code < 0 ? kMissing : encoding_->categorical[field][code];
  }
  return out;
}

torch::Tensor Table::scenes() const {
  auto out = torch::empty({size_}, torch::kInt64);
  auto* to = out.data_ptr<int64_t>();
  const auto* scene = columns_->scene.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < size_; ++i) to[i] = encoding_->scene[scene[source_row(i)]];
  return out;
}

torch::Tensor Table::users() const { return schema_->user < 0 ? torch::Tensor() : column(schema_->user); }
torch::Tensor Table::items() const { return schema_->item < 0 ? torch::Tensor() : column(schema_->item); }

torch::Tensor Table::labels() const {
  if (!columns_->label.defined()) return {};
  return rows_.defined() ? columns_->label.index_select(0, rows_) : columns_->label.clone();
}

torch::Tensor Table::times() const {
  if (!columns_->time.defined()) return {};
  return rows_.defined() ? columns_->time.index_select(0, rows_) : columns_->time.clone();
}

Table Table::take(const torch::Tensor& positions) const {
  const auto index = to_positions("table.take: positions", positions);
  Table out(columns_, schema_, rows_.defined() ? rows_.index_select(0, index) : index, role_);
  out.history_ = history_;
  out.also_seen_ = also_seen_;
  out.sequences_ = sequences_;
  return out;
}

std::string Table::digest() const {
  Sha256 hash;
  hash.update(columns_->digest());
  constexpr int64_t kPart = int64_t{1} << 18;
  for (int64_t begin = 0; begin < size_; begin += kPart) {
    const auto end = std::min(begin + kPart, size_);
    const auto rows = rows_.defined() ? rows_.slice(0, begin, end) : torch::arange(begin, end);
    hash.update(rows.const_data_ptr(), rows.nbytes());
  }
  return hash.digest();
}

}  // namespace polyscene::data
