#include "polyscene/data/window_shuffle.h"

#include <torch/torch.h>

#include <algorithm>

namespace polyscene::data {
namespace {

constexpr int64_t kBlockRows = int64_t{1} << 16;
constexpr int64_t kBlocksOfWindow = 16;  // at least: neighbours are then one row in sixteen of their window

}  // namespace

WindowShuffle::WindowShuffle(int64_t rows, int64_t window, uint64_t seed, int64_t epoch)
    : rows_(rows), stream_(seed, "window", epoch) {
  TORCH_CHECK_VALUE(window > 0, "shuffle_window must be positive, got ", window);
  block_ = std::clamp<int64_t>(window / kBlocksOfWindow, 1, kBlockRows);
  const auto blocks = (rows + block_ - 1) / block_;
  const auto most = window / block_;
  windows_ = std::max<int64_t>(1, (blocks + most - 1) / most);
  blocks_ = permutation(blocks, RandomStream(seed, "blocks", epoch));
  first_.assign(windows_ + 1, 0);
  for (int64_t w = 0; w < windows_; ++w) {
    first_[w + 1] = first_[w];
    for (const auto& [begin, end] : this->blocks(w)) first_[w + 1] += end - begin;
  }
}

std::vector<std::pair<int64_t, int64_t>> WindowShuffle::blocks(int64_t w) const {
  const auto count = static_cast<int64_t>(blocks_.size());
  std::vector<std::pair<int64_t, int64_t>> out;
  for (auto b = count * w / windows_; b < count * (w + 1) / windows_; ++b) {
    out.emplace_back(blocks_[b] * block_, std::min((blocks_[b] + 1) * block_, rows_));
  }
  return out;
}

std::vector<int64_t> WindowShuffle::order(int64_t w) const {
  std::vector<int64_t> out;
  out.reserve(first_[w + 1] - first_[w]);
  for (const auto& [begin, end] : blocks(w)) {
    for (auto row = begin; row < end; ++row) out.push_back(row);
  }
  // Number i of the stream belongs to place i of the epoch, so that no two windows draw the same.
  for (auto i = static_cast<int64_t>(out.size()) - 1; i > 0; --i) {
    std::swap(out[i], out[stream_.below(i + 1, first_[w] + i)]);
  }
  return out;
}

}  // namespace polyscene::data
