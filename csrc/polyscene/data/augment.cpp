#include "polyscene/data/augment.h"

#include <algorithm>

namespace polyscene::data {
namespace {

constexpr uint64_t kPlaces = uint64_t{1} << 20;  // events of a window that have numbers of their own
constexpr uint64_t kKinds = 8;                   // numbers of an event

}  // namespace

Augmenter::Augmenter(Augmentation how, std::shared_ptr<const History> history)
    : how_(how), history_(std::move(history)) {
  for (const auto& [name, value] : {std::pair{"crop", how_.crop},
                                    {"mask", how_.mask},
                                    {"reorder", how_.reorder},
                                    {"substitute", how_.substitute}}) {
    TORCH_CHECK_VALUE(value >= 0 && value < 1, "augment: ", name, " must be a probability in [0, 1), got ", value);
  }
  if (how_.substitute == 0) return;
  TORCH_CHECK_VALUE(history_ && history_->item_interest.defined(),
                    "augment: substitute takes another item of the same interest, and the data have no interests; name "
                    "their column when the table is read");
  const auto interests = history_->schema->num_interests(), scenes = history_->item_count.size(0),
             items = history_->item_count.size(1);
  alike_.resize(scenes * interests);
  const auto *at = history_->item_interest.offsets.const_data_ptr<int64_t>(),
             *count = history_->item_count.const_data_ptr<int64_t>();
  const auto* of = history_->item_interest.values.const_data_ptr<int32_t>();
  for (int64_t s = 0; s < scenes; ++s) {
    for (int64_t i = kFirstId; i < items; ++i) {
      if (count[s * items + i] > 0 && at[i] < at[i + 1]) {
        alike_[s * interests + of[at[i]]].push_back(static_cast<int32_t>(i));  // the first of its interests
      }
    }
  }
}

namespace {

// Interests of the events `place` (int64 [L]); none of a masked one.
Ragged shown(const Ragged& interest, const int32_t* item, const torch::Tensor& place) {
  auto out = interest.take(place);
  const auto n = place.numel();
  const auto masked =
      torch::from_blob(const_cast<int32_t*>(item), {n}, torch::kInt32).eq(static_cast<int32_t>(kMissing));
  if (!masked.any().item<bool>()) return out;
  const auto lengths = out.offsets.diff();
  out.values = out.values.masked_select(masked.logical_not().repeat_interleave(lengths));
  out.offsets = torch::constant_pad_nd(lengths.masked_fill(masked, 0).cumsum(0), {1, 0});
  return out;
}

}  // namespace

Batch Augmenter::apply(Batch batch, const RandomStream& stream) const {
  const auto rows = batch.size();
  batch.history.item = batch.history.item.clone();
  batch.history.scene = batch.history.scene.clone();
  batch.next_item = batch.next_item.clone();
  auto* item = batch.history.item.data_ptr<int32_t>();
  const auto *at = batch.history.offsets.const_data_ptr<int64_t>(), *row = batch.row.const_data_ptr<int64_t>(),
             *scene = batch.history.scene.const_data_ptr<int64_t>();
  auto kept = torch::ones({batch.history.item.numel()}, torch::kBool);
  auto from_place = torch::arange(batch.history.item.numel());  // whose interests an event has
  auto* source = from_place.data_ptr<int64_t>();
  for (int64_t b = 0; b < rows; ++b) {
    const auto first = at[b], n = at[b + 1] - at[b];
    const auto number = [&](int64_t place, uint64_t kind) {
      return (static_cast<uint64_t>(row[b]) * kPlaces + static_cast<uint64_t>(place)) * kKinds + kind;
    };
    for (int64_t j = 0; j < n; ++j) {
      auto& mine = item[first + j];
      if (how_.substitute > 0 && mine >= kFirstId && stream.uniform(number(j, 0)) < how_.substitute) {
        const auto* interest = history_->item_interest.offsets.const_data_ptr<int64_t>() + mine;
        if (interest[0] < interest[1]) {
          const auto k = history_->item_interest.values.const_data_ptr<int32_t>()[interest[0]];
          const auto& among = alike_[scene[first + j] * history_->schema->num_interests() + k];
          if (!among.empty()) mine = among[stream.below(static_cast<int64_t>(among.size()), number(j, 1))];
        }
      }
      if (how_.mask > 0 && stream.uniform(number(j, 2)) < how_.mask) mine = static_cast<int32_t>(kMissing);
    }
    if (n < 2) continue;
    if (how_.reorder > 0 && stream.uniform(number(0, 3)) < how_.reorder) {
      const auto run = 2 + stream.below(std::max<int64_t>(n / 2 - 1, 1), number(0, 4));
      const auto from = first + stream.below(n - std::min(run, n) + 1, number(0, 5));
      // Items, their scenes and interests stay together: the run is a shuffled copy of itself.
      for (auto i = std::min(run, n) - 1; i > 0; --i) {
        batch.next_item.data_ptr<int64_t>()[from + i - 1] = kUnknown;  // it may stand before the step
        const auto other = stream.below(i + 1, number(i, 6));
        std::swap(item[from + i], item[from + other]);
        std::swap(source[from + i], source[from + other]);
        std::swap(batch.history.scene.data_ptr<int64_t>()[from + i],
                  batch.history.scene.data_ptr<int64_t>()[from + other]);
      }
    }
    if (how_.crop > 0 && stream.uniform(number(0, 7)) < how_.crop) {
      const auto left_out = stream.below(n / 2 + 1, number(1, 7));
      kept.slice(0, first, first + left_out).fill_(false);
    }
  }
  if (batch.history.interest.defined()) batch.history.interest = shown(batch.history.interest, item, from_place);
  if (kept.all().item<bool>()) return batch;
  const auto events = kept.nonzero().squeeze(1);
  batch.history = batch.history.keep(kept);
  batch.next_item = batch.next_item.index_select(0, events);
  batch.next_scene = batch.next_scene.index_select(0, events);
  if (batch.next_negative.defined()) batch.next_negative = batch.next_negative.index_select(0, events);
  return batch;
}

}  // namespace polyscene::data
