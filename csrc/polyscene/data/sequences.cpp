#include "polyscene/data/sequences.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "polyscene/data/steps.h"

namespace polyscene::data {
namespace {

constexpr int8_t kNone = -1, kTrain = 0, kContext = 3;
constexpr int64_t kUsersATask = 256;

// Whether a row of one part sees an earlier event of another.
bool sees(int8_t row, int8_t event) { return event == kContext ? row != kTrain : event <= row; }

}  // namespace

Sequences::Sequences(std::shared_ptr<const Columns> columns, int64_t user, const std::array<torch::Tensor, 4>& parts)
    : columns_(std::move(columns)), user_(user) {
  const auto n = columns_->rows;
  TORCH_CHECK_VALUE(n <= INT32_MAX, "Sequences: a source may have ", INT32_MAX, " rows, got ", n);
  TORCH_CHECK_VALUE(user >= 0 && user < static_cast<int64_t>(columns_->categorical.size()),
                    "Sequences: user must be a categorical column, in [0, ", columns_->categorical.size(), "), got ",
                    user);
  std::vector<int8_t> part(n, kNone);
  const auto users = columns_->ids[user_].size();
  offsets_ = torch::zeros({users + 1}, torch::kInt64);
  auto* start = offsets_.data_ptr<int64_t>();
  for (size_t p = 0; p < parts.size(); ++p) {
    if (!parts[p].defined()) continue;
    const auto rows = parts[p].contiguous();
    for (const auto* row = rows.const_data_ptr<int64_t>(); row != rows.const_data_ptr<int64_t>() + rows.numel();
         ++row) {
      TORCH_CHECK_INDEX(*row >= 0 && *row < n, "Sequences: rows must be in [0, ", n, "), got ", *row);
      TORCH_CHECK_VALUE(part[*row] == kNone, "Sequences: row ", *row, " is in two parts");
      part[*row] = static_cast<int8_t>(p);
      if (const auto of = user_of(*row); of >= 0) ++start[of + 1];
    }
  }
  for (int64_t u = 0; u < users; ++u) start[u + 1] += start[u];
  const auto total = start[users];
  order_ = torch::empty({total}, torch::kInt32);
  part_ = torch::empty({total}, torch::kInt8);
  auto* order = order_.data_ptr<int32_t>();
  std::vector<int64_t> next(start, start + users);
  for (int64_t row = 0; row < n; ++row) {
    if (part[row] == kNone) continue;
    if (const auto of = user_of(row); of >= 0) order[next[of]++] = static_cast<int32_t>(row);
  }
  const auto* time = columns_->time.defined() ? columns_->time.const_data_ptr<int64_t>() : nullptr;
  at::parallel_for(0, users, kUsersATask, [&](int64_t begin, int64_t end) {
    for (auto u = begin; u < end; ++u) {
      if (time) {
        std::stable_sort(order + start[u], order + start[u + 1],
                         [&](int32_t a, int32_t b) { return time[a] < time[b]; });
      }
      for (auto i = start[u]; i < start[u + 1]; ++i) part_.data_ptr<int8_t>()[i] = part[order[i]];
    }
  });
  trained_ = part_.eq(kTrain).sum().item<int64_t>();
}

int64_t Sequences::user_of(int64_t row) const {
  return columns_->codes.const_data_ptr<int32_t>()[row * static_cast<int64_t>(columns_->categorical.size()) + user_];
}

int64_t Sequences::place_of(int64_t row, int64_t user) const {
  const auto* order = order_.const_data_ptr<int32_t>();
  const auto* start = offsets_.const_data_ptr<int64_t>() + user;
  const auto* time = columns_->time.defined() ? columns_->time.const_data_ptr<int64_t>() : nullptr;
  const auto earlier = [&](int32_t a, int64_t b) { return time && time[a] != time[b] ? time[a] < time[b] : a < b; };
  const auto* found = std::lower_bound(order + start[0], order + start[1], row, earlier);
  return found != order + start[1] && *found == row ? found - order : -1;
}

Ragged Sequences::before(const std::vector<int64_t>& rows, int64_t length) const {
  const auto n = static_cast<int64_t>(rows.size());
  const auto* order = order_.const_data_ptr<int32_t>();
  const auto* part = part_.const_data_ptr<int8_t>();
  const auto* start = offsets_.const_data_ptr<int64_t>();
  Ragged out{{}, torch::zeros({n + 1}, torch::kInt64)};
  auto* end = out.offsets.data_ptr<int64_t>();
  std::vector<int64_t> chosen;
  for (int64_t b = 0; b < n; ++b) {
    const auto user = user_of(rows[b]);
    const auto place = user < 0 ? -1 : place_of(rows[b], user);
    const auto first = static_cast<int64_t>(chosen.size());
    for (auto i = place - 1; place >= 0 && i >= start[user] && static_cast<int64_t>(chosen.size()) - first < length;
         --i) {
      if (sees(part[place], part[i])) chosen.push_back(order[i]);
    }
    std::reverse(chosen.begin() + first, chosen.end());
    end[b + 1] = static_cast<int64_t>(chosen.size());
  }
  out.values = torch::tensor(chosen, torch::kInt64);
  return out;
}

Windows Sequences::windows(const torch::Tensor& rows, int64_t length) const {
  const auto* wanted = rows.const_data_ptr<int64_t>();
  const auto* wanted_end = wanted + rows.numel();
  const auto* order = order_.const_data_ptr<int32_t>();
  const auto* part = part_.const_data_ptr<int8_t>();
  const auto* start = offsets_.const_data_ptr<int64_t>();
  std::vector<int64_t> position, mine;
  std::vector<int32_t> lengths;
  for (int64_t u = 0; u + 1 < offsets_.numel(); ++u) {
    mine.clear();
    for (auto i = start[u]; i < start[u + 1]; ++i) {
      if (part[i] == kTrain) mine.push_back(order[i]);
    }
    cut_windows(mine, wanted, wanted_end, length, [&](int64_t first, int64_t last, int64_t place) {
      position.push_back(place);
      lengths.push_back(static_cast<int32_t>(last - first));
    });
  }
  return {torch::tensor(position, torch::kInt64), torch::tensor(lengths, torch::kInt32)};
}

}  // namespace polyscene::data
