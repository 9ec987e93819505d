#include "polyscene/eval/ranks.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "polyscene/nn/simd.h"

namespace polyscene::eval {
namespace {

constexpr double kHead = 0.8;  // share of the pairs that items of the head take
constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

int64_t hits(const std::vector<double>& ranks, int64_t k) {
  return std::upper_bound(ranks.begin(), ranks.end(), static_cast<double>(k)) - ranks.begin();
}

}  // namespace

const std::vector<std::string>& query_metrics() {
  static const std::vector<std::string> names = {"recall", "precision", "f1",          "hit",        "ndcg",
                                                 "mrr",    "map",       "head_recall", "tail_recall"};
  return names;
}

const std::vector<std::string>& list_metrics() {
  static const std::vector<std::string> names = {"coverage", "pop_rank"};
  return names;
}

CandidateFacts facts_of(const data::Interactions::Scene& scene, int64_t items) {
  CandidateFacts out;
  const auto n = scene.candidates.numel();
  const auto* candidate = scene.candidates.const_data_ptr<int64_t>();
  const auto* offset = scene.item_offsets.const_data_ptr<int64_t>();
  out.place.assign(items, -1);
  out.head.assign(n, 0);
  out.pop_place.assign(n, 0);
  std::vector<int64_t> count(n), order(n);
  for (int64_t c = 0; c < n; ++c) {
    out.place[candidate[c]] = static_cast<int32_t>(c);
    count[c] = offset[candidate[c] + 1] - offset[candidate[c]];
  }
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return count[a] > count[b]; });
  const auto total = static_cast<double>(scene.pairs());
  double before = 0;
  for (int64_t i = 0; i < n;) {
    auto j = i;
    while (j < n && count[order[j]] == count[order[i]]) ++j;
    // Items as popular as one another stay together, on the side of their middle.
    const bool head = before + 0.5 * static_cast<double>((j - i) * count[order[i]]) < kHead * total;
    for (auto t = i; t < j; ++t) {
      out.head[order[t]] = head;
      out.pop_place[order[t]] = n > 1 ? static_cast<float>(0.5 * static_cast<double>(i + j - 1) / (n - 1)) : 0.f;
      before += static_cast<double>(count[order[t]]);
    }
    i = j;
  }
  return out;
}

POLYSCENE_SIMD bool has_nan(const float* scores, int64_t n) {
  int32_t bad = 0;
  for (int64_t c = 0; c < n; ++c) bad += scores[c] != scores[c];
  return bad > 0;
}

POLYSCENE_SIMD Compared compared(const float* scores, int64_t n, float mine) {
  int32_t better = 0, same = 0, bad = 0;
  for (int64_t c = 0; c < n; ++c) {
    better += scores[c] > mine;
    same += scores[c] == mine;
    bad += scores[c] != scores[c];
  }
  return {better, same, bad};
}

double rank_after(const Compared& others) {
  if (others.nan) return kNotANumber;
  return 1 + static_cast<double>(others.better) + 0.5 * static_cast<double>(others.same);
}

double rank_of(const float* scores, int64_t n, float mine) {
  auto others = compared(scores, n, mine);
  --others.same;
  return rank_after(others);
}

double value_of(Kind kind, int64_t k, const Ranks& ranks) {
  const auto& all = ranks.all;
  const auto found = hits(all, k);
  const auto wanted = static_cast<int64_t>(all.size());
  const auto ideal = static_cast<double>(std::min(k, wanted));
  const double recall = static_cast<double>(found) / static_cast<double>(wanted),
               precision = static_cast<double>(found) / static_cast<double>(k);
  switch (kind) {
    case Kind::kRecall:
      return recall;
    case Kind::kPrecision:
      return precision;
    case Kind::kF1:
      return found ? 2 * recall * precision / (recall + precision) : 0;
    case Kind::kHit:
      return found > 0;
    case Kind::kNdcg: {
      double gain = 0, best = 0;
      for (int64_t i = 0; i < found; ++i) gain += 1 / std::log2(all[i] + 1);
      for (int64_t i = 0; i < static_cast<int64_t>(ideal); ++i) best += 1 / std::log2(static_cast<double>(i) + 2);
      return gain / best;
    }
    case Kind::kMrr:
      return found ? 1 / all[0] : 0;
    case Kind::kMap: {
      double sum = 0;
      for (int64_t i = 0; i < found; ++i) sum += static_cast<double>(i + 1) / std::max(all[i], i + 1.0);
      return sum / ideal;
    }
    default: {
      const auto& mine = kind == Kind::kHeadRecall ? ranks.head : ranks.tail;
      return mine.empty() ? kNotANumber : static_cast<double>(hits(mine, k)) / static_cast<double>(mine.size());
    }
  }
}

std::vector<int32_t> best_places(const float* scores, int64_t n, int64_t k) {
  std::vector<int32_t> heap;  // the worst on top
  const auto better = [&](int32_t a, int32_t b) { return scores[a] > scores[b] || (scores[a] == scores[b] && a < b); };
  float threshold = kLeftOut;
  for (int64_t c = 0; c < n; ++c) {
    if (!(scores[c] > threshold)) continue;
    if (static_cast<int64_t>(heap.size()) == k) {
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.pop_back();
    }
    heap.push_back(static_cast<int32_t>(c));
    std::push_heap(heap.begin(), heap.end(), better);
    if (static_cast<int64_t>(heap.size()) == k) threshold = scores[heap.front()];
  }
  std::sort_heap(heap.begin(), heap.end(), better);
  return heap;
}

std::vector<int32_t> drawn_places(const float* scores, int64_t n, int64_t count, const RandomStream& stream) {
  std::vector<int32_t> open;
  for (int64_t c = 0; c < n; ++c) {
    if (scores[c] != kLeftOut) open.push_back(static_cast<int32_t>(c));
  }
  const auto total = static_cast<int64_t>(open.size());
  const auto wanted = std::min(count, total);
  for (int64_t i = 0; i < wanted; ++i) std::swap(open[i], open[i + stream.below(total - i, i)]);
  open.resize(wanted);
  return open;
}

}  // namespace polyscene::eval
