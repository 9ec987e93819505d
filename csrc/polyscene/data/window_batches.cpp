#include "polyscene/data/window_batches.h"

#include <algorithm>

namespace polyscene::data {
namespace {

constexpr int64_t kBatchesOfPool = 64;  // windows that are sorted together, in batches

}  // namespace

WindowBatches::WindowBatches(const Table& table, const Windows& windows, int64_t length, int64_t batch_size,
                             uint64_t seed, int64_t epoch)
    : table_(table), length_(length) {
  TORCH_CHECK_VALUE(batch_size > 0, "batches: batch_size must be positive, got ", batch_size);
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
    }
  }
  order_ =
      permutation(static_cast<int64_t>(batches_.size()), RandomStream(seed, "buckets", static_cast<uint64_t>(epoch)));
}

std::optional<Batch> WindowBatches::next() {
  if (given_ == order_.size()) return std::nullopt;
  return table_.batch(batches_[order_[given_++]], /*grouped=*/false, length_);
}

Windows windows_of(const Table& table, int64_t length) {
  TORCH_CHECK_VALUE(table.sequences(),
                    "windows: the table does not know the order of its users' events; read it with task 'sequence'");
  const auto rows = table.rows().defined() ? table.rows() : torch::arange(table.size());
  if (std::is_sorted(rows.const_data_ptr<int64_t>(), rows.const_data_ptr<int64_t>() + rows.numel())) {
    return table.sequences()->windows(rows, length);
  }
  const auto [sorted, place] = rows.sort();
  auto out = table.sequences()->windows(sorted, length);
  out.position = place.index_select(0, out.position);
  return out;
}

}  // namespace polyscene::data
