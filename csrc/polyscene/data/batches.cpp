#include "polyscene/data/batches.h"

#include <algorithm>

namespace polyscene::data {

int64_t shuffle_window(const Table& table, int64_t wanted) {
  TORCH_CHECK_VALUE(wanted >= 0, "shuffle_window must not be negative, got ", wanted);
  const auto window = wanted > 0 ? wanted : table.streams() ? kWindowRows : 0;
  return window < table.size() ? window : 0;
}

Batches::Batches(const Table& table, int64_t batch_size, bool shuffle, uint64_t seed, int64_t epoch, int64_t history,
                 int64_t window)
    : table_(table), batch_size_(batch_size), history_(history) {
  TORCH_CHECK_VALUE(batch_size > 0, "batches: batch_size must be positive, got ", batch_size);
  if (!shuffle) return;
  shared_.emplace(seed, "shared_scene", epoch);
  if (window == 0 || window >= table.size()) {
    order_ = torch::tensor(permutation(table.size(), RandomStream(seed, "shuffle", epoch)), torch::kInt64);
    return;
  }
  windows_.emplace(table.size(), window, seed, epoch);
  if (table.mapped()) {
    pages_.emplace(table);
    for (const auto& [begin, end] : windows_->blocks(0)) pages_->will_need(begin, end);
  }
  start_window(0);
}

int64_t Batches::count() const { return (table_.size() + batch_size_ - 1) / batch_size_; }

void Batches::start_window(int64_t w) {
  const auto order = windows_->order(w);
  order_ = torch::tensor(order, torch::kInt64);
  window_ = w;
  taken_ = 0;
  if (!pages_) return;
  // Blocks that were not given back yet, because the window ended early.
  for (; released_ < past_.size(); ++released_) pages_->release(past_[released_].first, past_[released_].second);
  past_ = w > 0 ? windows_->blocks(w - 1) : Ranges();
  next_ = w + 1 < windows_->windows() ? windows_->blocks(w + 1) : Ranges();
  released_ = fetched_ = 0;
}

// As many blocks of the next window as rows of this one were used, so that reading never comes in bursts.
void Batches::advise() {
  const auto due = [&](const Ranges& blocks) {
    const auto rows = order_.numel(), count = static_cast<int64_t>(blocks.size());
    return static_cast<size_t>(std::min(count, (count * taken_ + rows - 1) / rows + 1));
  };
  for (const auto end = due(next_); fetched_ < end; ++fetched_) {
    pages_->will_need(next_[fetched_].first, next_[fetched_].second);
  }
  for (const auto end = due(past_); released_ < end; ++released_) {
    pages_->release(past_[released_].first, past_[released_].second);
  }
}

// The next `count` positions of the shuffled order; a batch may reach over the end of a window.
torch::Tensor Batches::take(int64_t count) {
  std::vector<torch::Tensor> parts;
  while (count > 0) {
    if (windows_ && taken_ == order_.numel()) start_window(window_ + 1);
    const auto end = std::min(taken_ + count, order_.numel());
    parts.push_back(order_.slice(0, taken_, end));
    count -= end - taken_;
    taken_ = end;
  }
  return parts.size() == 1 ? parts[0] : torch::cat(parts);
}

std::optional<Batch> Batches::next() {
  if (position_ >= table_.size()) return std::nullopt;
  const auto end = std::min(position_ + batch_size_, table_.size());
  const auto positions = order_.defined() ? take(end - position_) : torch::arange(position_, end);
  position_ = end;
  if (pages_) advise();
  return table_.batch(positions, true, history_, shared_ ? &*shared_ : nullptr);
}

}  // namespace polyscene::data
