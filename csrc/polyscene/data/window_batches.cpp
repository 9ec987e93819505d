#include "polyscene/data/window_batches.h"

#include <algorithm>
#include <limits>

#include "polyscene/data/steps.h"

namespace polyscene::data {
namespace {

constexpr int64_t kBatchesOfPool = 64;  // windows that are sorted together, in batches
constexpr int64_t kUsersAtOnce = 4096;  // whose events are split by scene together
constexpr int64_t kAllBefore = std::numeric_limits<int32_t>::max();

// Windows of the events of each scene; `rows` ascending.
Windows windows_of_scenes(const Table& table, const torch::Tensor& rows, int64_t length) {
  const auto& sequences = *table.sequences();
  const auto whole = sequences.windows(rows, kAllBefore).position;  // one of each user
  const auto* wanted = rows.const_data_ptr<int64_t>();
  const auto* code = table.columns()->scene.const_data_ptr<int32_t>();
  const auto& scene_of = table.encoding().scene;
  std::vector<int64_t> position;
  std::vector<int32_t> lengths;
  const auto scenes = static_cast<size_t>(table.schema().num_scenes());
  std::vector<std::vector<int64_t>> mine(scenes), place(scenes);  // rows of the source, places among the user's
  for (int64_t begin = 0; begin < whole.numel(); begin += kUsersAtOnce) {
    const auto newest = rows.index_select(0, whole.slice(0, begin, begin + kUsersAtOnce));
    const auto count = newest.numel();
    const auto* last_row = newest.const_data_ptr<int64_t>();
    const auto [before, offsets] = sequences.before({last_row, last_row + count}, kAllBefore);
    const auto *event = before.const_data_ptr<int64_t>(), *at = offsets.const_data_ptr<int64_t>();
    for (int64_t u = 0; u < count; ++u) {
      for (size_t s = 0; s < scenes; ++s) mine[s].clear(), place[s].clear();
      for (auto j = at[u]; j <= at[u + 1]; ++j) {
        const auto row = j < at[u + 1] ? event[j] : last_row[u];
        const auto s = scene_of[code[row]];
        if (s < 0) continue;
        mine[s].push_back(row);
        place[s].push_back(j);
      }
      for (size_t s = 0; s < scenes; ++s) {
        cut_windows(mine[s], wanted, wanted + rows.numel(), length, [&](int64_t first, int64_t last, int64_t found) {
          position.push_back(found);
          lengths.push_back(static_cast<int32_t>(place[s][last] - place[s][first]));
        });
      }
    }
  }
  return {torch::tensor(position, torch::kInt64), torch::tensor(lengths, torch::kInt32)};
}

}  // namespace

WindowBatches::WindowBatches(const Table& table, const Windows& windows, int64_t length, int64_t batch_size,
                             uint64_t seed, int64_t epoch, bool within_scene)
    : table_(table), length_(length), within_scene_(within_scene) {
  TORCH_CHECK_VALUE(batch_size > 0, "batches: batch_size must be positive, got ", batch_size);
  const auto& schema = table.schema();
  // Where a column holds what was done before, events are no rows.
  const bool of_rows = std::none_of(schema.lists.begin(), schema.lists.end(), [&](const auto& field) {
    return field.kind == "sequence" && schema.item >= 0 && field.shares == schema.categorical[schema.item].name;
  });
  if (of_rows && table.size() < table.sequences()->trained()) wanted_ = std::get<0>(table.rows().sort());
  const auto count = windows.position.numel();
  const auto* of = windows.length.const_data_ptr<int32_t>();
  auto order = permutation(count, RandomStream(seed, "shuffle", static_cast<uint64_t>(epoch)));
  const auto pool = kBatchesOfPool * batch_size;
  for (int64_t begin = 0; begin < count; begin += pool) {
    const auto end = std::min(begin + pool, count);
    std::stable_sort(order.begin() + begin, order.begin() + end, [&](int64_t a, int64_t b) { return of[a] < of[b]; });
    for (auto first = begin; first < end; first += batch_size) {
      const std::vector<int64_t> mine(order.begin() + first, order.begin() + std::min(first + batch_size, end));
      batches_.push_back(windows.position.index_select(0, torch::tensor(mine, torch::kInt64)));
      longest_.push_back(of[mine.back()]);
    }
  }
  order_ =
      permutation(static_cast<int64_t>(batches_.size()), RandomStream(seed, "buckets", static_cast<uint64_t>(epoch)));
}

torch::Tensor WindowBatches::others(const torch::Tensor& positions, int64_t length) const {
  const auto newest = table_.rows().index_select(0, positions);
  const auto* own = newest.const_data_ptr<int64_t>();
  const auto events = table_.sequences()->before({own, own + newest.numel()}, length).values;
  auto out = torch::empty({events.numel()}, torch::kBool);
  const auto* wanted = wanted_.const_data_ptr<int64_t>();
  for (int64_t j = 0; j < events.numel(); ++j) {
    out.data_ptr<bool>()[j] =
        !std::binary_search(wanted, wanted + wanted_.numel(), events.const_data_ptr<int64_t>()[j]);
  }
  return out;
}

std::optional<Batch> WindowBatches::next() {
  if (given_ == order_.size()) return std::nullopt;
  const auto number = order_[given_++];
  const auto length = within_scene_ ? longest_[number] : length_;
  auto batch = table_.batch(batches_[number], /*grouped=*/false, length);
  auto& events = batch.history;
  auto hidden = wanted_.defined() ? others(batches_[number], length) : torch::Tensor();
  if (within_scene_) {
    const auto mine = events.scene.eq(batch.scene.repeat_interleave(events.offsets.diff()));
    events = events.keep(mine);
    if (hidden.defined()) hidden = hidden.masked_select(mine);
    const auto left = events.offsets.slice(0, 1).repeat_interleave(events.offsets.diff());
    const auto newest = (left - torch::arange(left.numel())).le(length_);
    events = events.keep(newest);
    if (hidden.defined()) hidden = hidden.masked_select(newest);
    add_next(batch);
  }
  if (hidden.defined() && hidden.numel() > 1) {
    // What follows the newest event is the row itself, which is the table's.
    auto follows = hidden.slice(0, 1).clone();
    const auto last = events.offsets.slice(0, 1) - 1;
    const auto rows = (events.offsets.diff().gt(0) & last.lt(follows.numel())).nonzero().squeeze(1);
    follows.index_fill_(0, last.index_select(0, rows), false);
    batch.next_item.slice(0, 0, -1).masked_fill_(follows, kUnknown);
  }
  return batch;
}

Windows windows_of(const Table& table, int64_t length, bool within_scene) {
  TORCH_CHECK_VALUE(table.sequences(),
                    "windows: the table does not know the order of its users' events; read it with task 'sequence'");
  const auto rows = table.rows().defined() ? table.rows() : torch::arange(table.size());
  const auto cut = [&](const torch::Tensor& sorted) {
    return within_scene ? windows_of_scenes(table, sorted, length) : table.sequences()->windows(sorted, length);
  };
  if (std::is_sorted(rows.const_data_ptr<int64_t>(), rows.const_data_ptr<int64_t>() + rows.numel())) return cut(rows);
  const auto [sorted, place] = rows.sort();
  auto out = cut(sorted);
  out.position = place.index_select(0, out.position);
  return out;
}

}  // namespace polyscene::data
