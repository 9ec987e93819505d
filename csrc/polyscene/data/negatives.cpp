#include "polyscene/data/negatives.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/data/schema.h"

namespace polyscene::data {
namespace {

constexpr int kTries = 64;                     // draws with rejection before an exact one
constexpr int64_t kPlaces = int64_t{1} << 20;  // events of a history that have numbers of their own
constexpr int64_t kRowsATask = 512;
constexpr int64_t kDrawsAhead = 8;  // rows whose users are on their way while one is drawn for

// One column of a batch as plain memory.
torch::Tensor plain(const char* what, const torch::Tensor& column, int64_t rows) {
  TORCH_CHECK_VALUE(column.numel() == rows, "negatives: ", what, " of the batch must be ", rows, ", got ",
                    column.numel());
  TORCH_CHECK_TYPE(column.scalar_type() == torch::kInt64, "negatives: ", what, " of the batch must be int64, got ",
                   column.scalar_type());
  return column.contiguous();
}

// And in [0, count).
torch::Tensor checked(const char* what, const torch::Tensor& column, int64_t rows, int64_t count) {
  const auto out = plain(what, column, rows);
  if (rows == 0) return out;
  const auto [low, high] = std::minmax_element(out.const_data_ptr<int64_t>(), out.const_data_ptr<int64_t>() + rows);
  TORCH_CHECK_INDEX(*low >= 0 && *high < count, "negatives: ", what, " of the batch must be in [0, ", count, "), got ",
                    *low, " to ", *high);
  return out;
}

}  // namespace

Negatives::Negatives(std::shared_ptr<const Interactions> known, Sampling sampling)
    : known_(std::move(known)), sampling_(std::move(sampling)) {
  const std::vector<std::string> sources = {"uniform", "popularity", "in_batch"};
  TORCH_CHECK_VALUE(std::find(sources.begin(), sources.end(), sampling_.from) != sources.end(),
                    "negatives: the source must be one of ", join(sources), ", got '", sampling_.from, "'",
                    suggestion(sampling_.from, sources));
  TORCH_CHECK_VALUE(sampling_.negatives >= 0, "negatives: their number must be 0 or more, got ", sampling_.negatives);
  TORCH_CHECK_VALUE(sampling_.exponent >= 0, "negatives: exponent must be 0 or more, got ", sampling_.exponent);
  for (int64_t s = 0; s < known_->scenes(); ++s) {
    const auto& from = known_->scene(s);
    auto& scene = scenes_.emplace_back();
    scene.candidates = from.candidates.const_data_ptr<int64_t>();
    scene.offsets = from.user_offsets.const_data_ptr<int64_t>();
    scene.count = from.candidates.numel();
    std::vector<int32_t> place(known_->items(), -1);
    for (int64_t c = 0; c < scene.count; ++c) place[scene.candidates[c]] = static_cast<int32_t>(c);
    scene.seen.resize(from.pairs());
    const auto* item = from.items.const_data_ptr<int32_t>();
    for (size_t n = 0; n < scene.seen.size(); ++n) scene.seen[n] = place[item[n]];
    if (sampling_.from != "popularity") continue;
    const auto* offset = from.item_offsets.const_data_ptr<int64_t>();
    scene.cumulative.resize(scene.count);
    double total = 0;
    for (int64_t c = 0; c < scene.count; ++c) {
      const auto users = offset[scene.candidates[c] + 1] - offset[scene.candidates[c]];
      scene.cumulative[c] = total += std::pow(static_cast<double>(users), sampling_.exponent);
    }
  }
}

int64_t Negatives::uniform(int64_t s, int64_t user, const RandomStream& stream, uint64_t number) const {
  const auto& scene = scenes_[s];
  if (scene.count == 0) return kUnknown;
  const auto* seen = scene.seen.data() + scene.offsets[user];
  const auto known = scene.offsets[user + 1] - scene.offsets[user];
  if (known >= scene.count) return scene.candidates[stream.below(scene.count, number)];
  // The r-th unseen candidate: behind j seen ones, where seen j is the first with more than r unseen before it.
  const auto r = stream.below(scene.count - known, number);
  int64_t low = 0, high = known;
  while (low < high) {
    const auto j = (low + high) / 2;
    if (seen[j] - j > r) {
      high = j;
    } else {
      low = j + 1;
    }
  }
  return scene.candidates[r + low];
}

int64_t Negatives::popular(int64_t s, int64_t user, const RandomStream& stream, uint64_t number) const {
  const auto& scene = known_->scene(s);
  const auto& sums = scenes_[s].cumulative;
  if (sums.empty()) return kUnknown;
  const auto* candidate = scenes_[s].candidates;
  const auto last = static_cast<int64_t>(sums.size()) - 1;
  const auto at = [&](const std::vector<double>& of, uint64_t i) {
    const auto found = std::upper_bound(of.begin(), of.end(), stream.uniform(i) * of.back());
    return std::min<int64_t>(found - of.begin(), last);
  };
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const auto item = candidate[at(sums, number * (kTries + 1) + attempt)];
    if (!scene.contains(user, item)) return item;
  }
  // Nearly everything popular was seen: weights of the unseen alone.
  std::vector<double> unseen(sums.size());
  double total = 0;
  for (size_t c = 0; c < sums.size(); ++c) {
    if (!scene.contains(user, candidate[c])) total += sums[c] - (c ? sums[c - 1] : 0);
    unseen[c] = total;
  }
  return candidate[at(total > 0 ? unseen : sums, number * (kTries + 1) + kTries)];
}

torch::Tensor Negatives::draw(const Batch& batch, const RandomStream& stream) const {
  const auto rows = batch.size(), n = sampling_.negatives;
  auto out = torch::empty({rows, n}, torch::kInt64);
  TORCH_CHECK_VALUE(batch.user.defined() && batch.item.defined(), "negatives: the batch names no users and items");
  const auto users = checked("users", batch.user, rows, known_->users()),
             scenes = checked("scenes", batch.scene, rows, known_->scenes()),
             items = checked("items", batch.item, rows, known_->items()), numbers = plain("rows", batch.row, rows);
  auto* to = out.data_ptr<int64_t>();
  const auto *user = users.const_data_ptr<int64_t>(), *scene = scenes.const_data_ptr<int64_t>(),
             *item = items.const_data_ptr<int64_t>(), *row = numbers.const_data_ptr<int64_t>();
  const bool in_batch = sampling_.from == "in_batch", popularity = sampling_.from == "popularity";
  std::vector<std::vector<int64_t>> mates(in_batch ? known_->scenes() : 0);
  for (int64_t b = 0; in_batch && b < rows; ++b) mates[scene[b]].push_back(item[b]);
  at::parallel_for(0, rows, kRowsATask, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      // What a user met is anywhere in memory: where it lies is fetched early, then itself.
      if (b + 2 * kDrawsAhead < end) {
        __builtin_prefetch(scenes_[scene[b + 2 * kDrawsAhead]].offsets + user[b + 2 * kDrawsAhead]);
      }
      if (b + kDrawsAhead < end) {
        const auto& next = scenes_[scene[b + kDrawsAhead]];
        __builtin_prefetch(next.seen.data() + next.offsets[user[b + kDrawsAhead]]);
      }
      const auto& mine = known_->scene(scene[b]);
      for (int64_t j = 0; j < n; ++j) {
        const auto number = static_cast<uint64_t>(row[b] * n + j);
        int64_t found = -1;
        for (int attempt = 0; in_batch && attempt < kTries && found < 0; ++attempt) {
          const auto& among = mates[scene[b]];
          const auto other = among[stream.below(static_cast<int64_t>(among.size()), number * kTries + attempt)];
          if (other >= kFirstId && other != item[b] && !mine.contains(user[b], other)) found = other;
        }
        if (found < 0) {
          found = popularity ? popular(scene[b], user[b], stream, number) : uniform(scene[b], user[b], stream, number);
        }
        to[b * n + j] = found;
      }
    }
  });
  return out;
}

torch::Tensor Negatives::draw_next(const Batch& batch, const RandomStream& stream) const {
  TORCH_CHECK_VALUE(batch.next_item.defined() && batch.user.defined(),
                    "negatives: the batch carries no history with what followed; it must be of task sequence");
  const auto lengths = batch.history.offsets.diff();
  const auto owner = torch::arange(batch.size()).repeat_interleave(lengths);
  const auto place = torch::arange(owner.numel()) - batch.history.offsets.slice(0, 0, -1).index_select(0, owner);
  Batch each;
  each.user = batch.user.index_select(0, owner);
  each.item = batch.next_item;
  each.scene = batch.next_scene;
  each.row = batch.row.index_select(0, owner) * kPlaces + place;
  return draw(each, stream);
}

}  // namespace polyscene::data
