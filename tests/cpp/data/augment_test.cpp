#include "polyscene/data/augment.h"

#include "../models/sequence/tiny_sequences.h"
#include "catch.h"

using namespace polyscene;

namespace {

data::Batch windows() { return sequence_table().batch(torch::tensor({6, 5, 3}, torch::kInt64), false, 3); }

data::Batch changed(const data::Augmentation& how, uint64_t epoch = 1) {
  return data::Augmenter(how, nullptr).apply(windows(), RandomStream(1, "augment", epoch));
}

}  // namespace

TEST_CASE("Augmenter: a mask takes the place of events, and what followed stays") {
  const auto before = windows(), after = changed({0, 0.5, 0, 0});
  CHECK(after.history.offsets.equal(before.history.offsets));
  CHECK(after.next_item.equal(before.next_item));
  const auto masked = after.history.item.eq(data::kMissing);
  CHECK(masked.any().item<bool>());
  CHECK(torch::where(masked, before.history.item, after.history.item).equal(before.history.item));
}

TEST_CASE("Augmenter: cropping leaves the newest events, reordering all of them") {
  bool cropped = false, moved = false;
  for (uint64_t epoch = 0; epoch < 20; ++epoch) {
    const auto before = windows(), less = changed({0.9, 0, 0, 0}, epoch), other = changed({0, 0, 0.9, 0}, epoch);
    for (int64_t b = 0; b < 3; ++b) {
      const auto mine = less.history.take(torch::tensor({b})).item, all = before.history.take(torch::tensor({b})).item;
      CHECK(mine.numel() >= all.numel() - all.numel() / 2);
      CHECK(mine.equal(all.slice(0, all.numel() - mine.numel())));
      cropped = cropped || mine.numel() < all.numel();
      const auto shuffled = other.history.take(torch::tensor({b})).item;
      CHECK(std::get<0>(shuffled.sort()).equal(std::get<0>(all.sort())));
      moved = moved || !shuffled.equal(all);
    }
    CHECK(less.next_item.numel() == less.history.item.numel());
    const auto trained = other.next_item.ge(data::kFirstId);
    CHECK(torch::where(trained, before.next_item, data::kUnknown).equal(other.next_item));
  }
  CHECK(cropped);
  CHECK(moved);
}

TEST_CASE("Augmenter: a step of a reordered window that is trained saw the same events before, in whatever order") {
  int64_t trained = 0, untrained = 0, moved = 0;
  for (uint64_t epoch = 0; epoch < 40; ++epoch) {
    const auto before = windows(), other = changed({0, 0, 0.9, 0}, epoch);
    const auto* at = before.history.offsets.const_data_ptr<int64_t>();
    for (int64_t b = 0; b < 3; ++b) {
      for (auto j = at[b]; j < at[b + 1]; ++j) {
        if (other.next_item[j].item<int64_t>() < data::kFirstId) {
          ++untrained;
          continue;
        }
        ++trained;
        const auto was = before.history.item.slice(0, at[b], j + 1), is = other.history.item.slice(0, at[b], j + 1);
        moved += !was.equal(is);
        CHECK(std::get<0>(was.sort()).equal(std::get<0>(is.sort())));
      }
    }
  }
  CHECK(trained > 0);
  CHECK(untrained > 0);
  CHECK(moved > 0);
}

TEST_CASE("Augmenter: another item of the same interest and scene is substituted") {
  const auto table = sequence_table();
  auto schema = std::make_shared<data::Schema>(table.schema());
  schema->interests = data::Strings({"k"});
  auto history = std::make_shared<data::History>(*table.history());
  history->schema = schema;
  const auto items = history->item_count.size(1);
  history->item_interest = {torch::zeros({items}, torch::kInt32), torch::arange(items + 1)};
  const data::Augmenter augmenter({0, 0, 0, 0.9}, history);
  const auto before = windows();
  bool other = false;
  for (uint64_t epoch = 0; epoch < 10; ++epoch) {
    const auto after = augmenter.apply(windows(), RandomStream(1, "augment", epoch));
    for (int64_t e = 0; e < after.history.item.numel(); ++e) {
      const auto scene = after.history.scene[e].item<int64_t>(), item = after.history.item[e].item<int64_t>();
      CHECK(history->item_count[scene][item].item<int64_t>() > 0);
    }
    other = other || !after.history.item.equal(before.history.item);
  }
  CHECK(other);
}

TEST_CASE("Augmenter: what cannot be is refused") {
  CHECK_THROWS_WITH(changed({1.5, 0, 0, 0}), StartsWith("augment: crop must be a probability in [0, 1), got 1.5"));
  CHECK_THROWS_WITH(changed({0, 0, 0, 0.5}), StartsWith("augment: substitute takes another item of the same interest"));
}
