#include "polyscene/eval/short_ranks.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>

#include "polyscene/eval/scores_after.h"

namespace polyscene::eval {
namespace {

constexpr size_t kTogether = 512;                          // ranked together
constexpr size_t kScoresOfBlock = size_t{1} << 22;         // held at once
constexpr size_t kFirstPiece = 512, kLargestPiece = 4096;  // candidates; each piece has twice those of the one before
constexpr double kBeyond = std::numeric_limits<double>::infinity();

}  // namespace

// Where the wanted items of one user stand among the candidates that were compared.
struct ShortRanks::Standing {
  struct Item {
    float score = 0;
    Compared others;
  };
  std::vector<Item> items;
  bool nan = false;  // among the scores of one that wants nothing which can be ranked

  bool settled(int64_t depth) const {
    return std::all_of(items.begin(), items.end(), [&](const Item& item) { return item.others.better >= depth; });
  }
};

ShortRanks::ShortRanks(models::Model& model, int64_t scene, const data::Interactions::Scene& known,
                       const CandidateFacts& facts, std::vector<const data::Interactions::Scene*> met, int64_t depth)
    : model_(model),
      scene_(scene),
      candidates_(known.candidates),
      facts_(facts),
      met_(std::move(met)),
      depth_(depth),
      popular_first_(candidates_.numel()),
      column_(candidates_.numel(), -1) {
  std::iota(popular_first_.begin(), popular_first_.end(), 0);
  std::stable_sort(popular_first_.begin(), popular_first_.end(),
                   [&](int64_t a, int64_t b) { return facts.pop_place[a] < facts.pop_place[b]; });
}

void ShortRanks::of(const std::vector<Sought>& asking, const Tell& tell) {
  size_t begin = 0;
  while (begin < asking.size()) {
    // The first piece of a block is what its users want: its scores must not grow without bound either.
    auto end = begin;
    size_t wanted = 0;
    do {
      wanted += asking[end++].wanted->size();
    } while (end < asking.size() && end - begin < kTogether &&
             (end - begin + 1) * (wanted + asking[end].wanted->size()) <= kScoresOfBlock);
    block(asking, begin, end, tell);
    begin = end;
  }
}

void ShortRanks::block(const std::vector<Sought>& asking, size_t begin, size_t end, const Tell& tell) {
  std::vector<Standing> found(end - begin);
  std::vector<size_t> active(end - begin);
  std::iota(active.begin(), active.end(), begin);
  std::vector<char> met(popular_first_.size());
  std::vector<int64_t> places;
  for (auto q = begin; q < end; ++q) {
    for (const auto place : *asking[q].wanted) {
      if (place < 0 || met[place]) continue;
      met[place] = 1;
      places.push_back(place);
    }
  }
  auto next = popular_first_.begin();
  for (auto width = kFirstPiece;; width = std::min(2 * width, kLargestPiece)) {
    if (!places.empty()) piece(asking, active, std::move(places), found, begin);
    std::erase_if(active, [&](size_t q) { return q > 0 && found[q - begin].settled(depth_); });
    places.clear();
    for (; next != popular_first_.end() && places.size() < width; ++next) {
      if (!met[*next]) places.push_back(*next);
    }
    if (active.empty() || places.empty()) break;
  }
  at::parallel_for(0, static_cast<int64_t>(found.size()), 1, [&](int64_t from, int64_t to) {
    for (auto q = from; q < to; ++q) {
      std::vector<double> ranks;
      auto item = found[q].items.begin();
      for (const auto place : *asking[begin + q].wanted) {
        const auto rank = place >= 0     ? rank_after((item++)->others)
                          : found[q].nan ? std::numeric_limits<double>::quiet_NaN()
                                         : kBeyond;
        ranks.push_back(rank > static_cast<double>(depth_) ? kBeyond : rank);
      }
      tell(begin + q, std::move(ranks));
    }
  });
}

void ShortRanks::piece(const std::vector<Sought>& asking, const std::vector<size_t>& active,
                       std::vector<int64_t> places, std::vector<Standing>& found, size_t begin) {
  std::sort(places.begin(), places.end());
  const auto n = static_cast<int64_t>(places.size());
  for (int64_t c = 0; c < n; ++c) column_[places[c]] = static_cast<int32_t>(c);
  auto users = torch::empty({static_cast<int64_t>(active.size())}, torch::kInt64);
  for (size_t i = 0; i < active.size(); ++i) users.data_ptr<int64_t>()[i] = asking[active[i]].user;
  const auto items = candidates_.index_select(0, torch::tensor(places, torch::kInt64));
  auto scores = scores_for(model_, users, scene_, items);
  at::parallel_for(0, users.numel(), 1, [&](int64_t from, int64_t to) {
    for (auto i = from; i < to; ++i) {
      const auto& [user, wanted] = asking[active[i]];
      auto* mine = scores.data_ptr<float>() + i * n;
      for (const auto* some : met_) {
        if (user < data::kFirstId) continue;
        for (const auto* item = some->begin(user); item != some->end(user); ++item) {
          const auto place = facts_.place[*item];
          if (place >= 0 && column_[place] >= 0) mine[column_[place]] = kLeftOut;
        }
      }
      auto& standing = found[active[i] - begin].items;
      if (standing.empty()) {  // the first piece has all that is wanted
        for (const auto place : *wanted) {
          if (place >= 0) standing.push_back({mine[column_[place]], {0, -1, 0}});  // itself is no tie
        }
      }
      if (standing.empty()) found[active[i] - begin].nan |= has_nan(mine, n);
      for (auto& each : standing) each.others += compared(mine, n, each.score);
    }
  });
  for (const auto place : places) column_[place] = -1;
}

}  // namespace polyscene::eval
