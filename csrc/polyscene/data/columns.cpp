#include "polyscene/data/columns.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "polyscene/core/errors.h"
#include "polyscene/core/sha256.h"

namespace polyscene::data {
namespace {

constexpr int64_t kCheckedRows = int64_t{1} << 19;

void check_tensor(const torch::Tensor& tensor, torch::ScalarType type, std::vector<int64_t> shape,
                  const std::string& what) {
  TORCH_CHECK_VALUE(tensor.defined(), "Columns: ", what, " is missing");
  TORCH_CHECK_VALUE(
      tensor.device().is_cpu() && tensor.scalar_type() == type && tensor.sizes() == shape && tensor.is_contiguous(),
      "Columns: ", what, " must be a contiguous ", type, " tensor of shape ", torch::IntArrayRef(shape),
      " on the CPU, got ", tensor.scalar_type(), " ", tensor.sizes(), " on ", tensor.device());
}

// The first position whose code is outside [low, high), or -1; in parallel, without temporaries.
int64_t first_outside(const int32_t* codes, int64_t n, int64_t stride, int64_t low, int64_t high) {
  std::atomic<int64_t> first{-1};
  at::parallel_for(0, n, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (codes[i * stride] >= low && codes[i * stride] < high) continue;
      auto known = first.load();
      while ((known < 0 || i < known) && !first.compare_exchange_weak(known, i)) {
      }
      return;
    }
  });
  return first;
}

void check_codes(const int32_t* codes, int64_t first, int64_t n, int64_t stride, int64_t low, int64_t high,
                 const std::string& what) {
  const auto at = first_outside(codes + first * stride, n, stride, low, high);
  TORCH_CHECK_VALUE(at < 0, "Columns: ", what, ", row ", first + at, ": code must be in [", low, ", ", high, "), got ",
                    codes[(first + at) * stride]);
}

// Strings checks the rest when it is made; a struct filled by hand may still lack its tensors.
void check_strings(const Strings& strings, const std::string& what) {
  TORCH_CHECK_VALUE(strings.bytes.defined() && strings.offsets.defined() && strings.offsets.numel() > 0,
                    "Columns: ", what, " has no strings");
}

void check_ragged(const Ragged& lists, int64_t rows, int64_t ids, const std::string& what) {
  check_tensor(lists.offsets, torch::kInt64, {rows + 1}, what + " offsets");
  TORCH_CHECK_VALUE(lists.values.defined(), "Columns: ", what, " codes is missing");
  const bool pixels = lists.values.scalar_type() == torch::kUInt8 && ids == 0;  // of images: no ids stand behind them
  check_tensor(lists.values, pixels ? torch::kUInt8 : torch::kInt32, {lists.values.numel()}, what + " codes");
  const auto* offsets = lists.offsets.const_data_ptr<int64_t>();
  TORCH_CHECK_VALUE(offsets[0] == 0 && offsets[rows] == lists.values.numel(), "Columns: ", what,
                    ": offsets must run from 0 to ", lists.values.numel(), ", got ", offsets[0], " to ", offsets[rows]);
  const auto* fall = std::adjacent_find(offsets, offsets + rows + 1, std::greater<>());
  TORCH_CHECK_VALUE(fall == offsets + rows + 1, "Columns: ", what, ", row ", fall - offsets, ": offsets must not fall");
  if (pixels) return;
  const auto* codes = lists.values.const_data_ptr<int32_t>();
  const auto odd = first_outside(codes, lists.values.numel(), 1, 0, ids);
  if (odd < 0) return;
  const auto row = std::upper_bound(offsets, offsets + rows + 1, odd) - offsets - 1;
  TORCH_CHECK_VALUE(false, "Columns: ", what, ", row ", row, ": code must be in [0, ", ids, "), got ", codes[odd]);
}

std::string column_name(const char* kind, const std::string& name) {
  return std::string(kind) + " column '" + name + "'";
}

class ColumnsHash {
 public:
  void names(const char* part, const std::vector<std::string>& values) {
    text(part);
    hash_.update_number(values.size());
    for (const auto& value : values) text(value);
  }
  void tensor(const char* part, const torch::Tensor& values) {
    text(part);
    hash_.update_number(values.defined());
    if (!values.defined()) return;
    text(torch::toString(values.scalar_type()));
    hash_.update_number(values.dim());
    for (const auto side : values.sizes()) hash_.update_number(side);
    const auto dense = values.contiguous();
    if (values.scalar_type() == torch::kFloat32) {
      floats(dense.const_data_ptr<float>(), dense.numel());
    } else if (dense.numel() > 0) {
      hash_.update(dense.const_data_ptr(), dense.nbytes());
    }
  }
  void strings(const char* part, const Strings& values) {
    tensor(part, values.bytes);
    tensor("offsets", values.offsets);
  }
  void ragged(const char* part, const Ragged& lists) {
    tensor(part, lists.values);
    tensor("offsets", lists.offsets);
  }
  std::string digest() const { return hash_.digest(); }

 private:
  void text(const std::string& value) {
    hash_.update_number(value.size());
    hash_.update(value);
  }
  // A NaN has many bit patterns and readers differ in the one they choose: all count as the same empty cell.
  void floats(const float* values, int64_t n) {
    float part[4096];
    for (int64_t begin = 0; begin < n; begin += 4096) {
      const auto count = std::min<int64_t>(4096, n - begin);
      std::transform(values + begin, values + begin + count, part,
                     [](float v) { return std::isnan(v) ? std::numeric_limits<float>::quiet_NaN() : v; });
      hash_.update(part, static_cast<size_t>(count) * sizeof(float));
    }
  }

  Sha256 hash_;
};

}  // namespace

void Columns::check() const {
  const auto fields = static_cast<int64_t>(categorical.size());
  const auto width = static_cast<int64_t>(numeric.size());
  TORCH_CHECK_VALUE(rows >= 0, "Columns: rows must not be negative, got ", rows);
  TORCH_CHECK_VALUE(ids.size() == categorical.size(), "Columns: ", fields, " categorical columns with ", ids.size(),
                    " lists of ids");
  TORCH_CHECK_VALUE(list_codes.size() == lists.size() && list_ids.size() == lists.size(), "Columns: ", lists.size(),
                    " list columns with ", list_codes.size(), " lists of codes and ", list_ids.size(), " lists of ids");
  std::set<std::string> seen;
  for (const auto* names : {&categorical, &numeric, &lists}) {
    for (const auto& name : *names) {
      TORCH_CHECK_VALUE(seen.insert(name).second, "Columns: two columns are named '", name, "'");
    }
  }
  check_tensor(codes, torch::kInt32, {rows, fields}, "codes");
  std::vector<std::string> owners;
  for (int64_t f = 0; f < fields; ++f) owners.push_back(column_name("categorical", categorical[f]));
  for (int64_t f = 0; f < fields; ++f) check_strings(ids[f], owners[f]);
  // All columns of some rows, then the next rows: a file is read once, not once a column.
  for (int64_t begin = 0; begin < rows; begin += kCheckedRows) {
    const auto count = std::min(kCheckedRows, rows - begin);
    for (int64_t f = 0; f < fields; ++f) {
      check_codes(codes.const_data_ptr<int32_t>() + f, begin, count, fields, -1, ids[f].size(), owners[f]);
    }
  }
  check_tensor(numbers, torch::kFloat32, {rows, width}, "numbers");
  for (size_t i = 0; i < lists.size(); ++i) {
    check_strings(list_ids[i], column_name("list", lists[i]));
    check_ragged(list_codes[i], rows, list_ids[i].size(), column_name("list", lists[i]));
  }
  TORCH_CHECK_VALUE(std::set(scene_names.begin(), scene_names.end()).size() == scene_names.size(),
                    "Columns: scene names must differ, got [", join(scene_names), "]");
  check_tensor(scene, torch::kInt32, {rows}, "scene");
  check_codes(scene.const_data_ptr<int32_t>(), 0, rows, 1, 0, static_cast<int64_t>(scene_names.size()), "scene");
  if (label.defined()) check_tensor(label, torch::kFloat32, {rows}, "label");
  if (weight.defined()) check_tensor(weight, torch::kFloat32, {rows}, "weight");
  if (time.defined()) check_tensor(time, torch::kInt64, {rows}, "time");
  check_strings(interest_ids, "interest");
  if (interest.defined()) check_ragged(interest, rows, interest_ids.size(), "interest");
}

std::string Columns::digest() const {
  ColumnsHash hash;
  hash.names("categorical", categorical);
  hash.tensor("codes", codes);
  for (const auto& list : ids) hash.strings("ids", list);
  hash.names("numeric", numeric);
  hash.tensor("numbers", numbers);
  hash.names("lists", lists);
  for (const auto& list : list_codes) hash.ragged("list_codes", list);
  for (const auto& list : list_ids) hash.strings("list_ids", list);
  hash.names("scene_names", scene_names);
  hash.tensor("scene", scene);
  hash.tensor("label", label);
  hash.tensor("weight", weight);
  hash.tensor("time", time);
  hash.ragged("interest", interest);
  hash.strings("interest_ids", interest_ids);
  return hash.digest();
}

int64_t Columns::categorical_index(const std::string& name) const {
  const auto found = std::find(categorical.begin(), categorical.end(), name);
  return found == categorical.end() ? -1 : found - categorical.begin();
}

}  // namespace polyscene::data
