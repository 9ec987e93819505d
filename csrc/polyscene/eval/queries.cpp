#include "polyscene/eval/queries.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "polyscene/eval/codes.h"

namespace polyscene::eval {
namespace {

constexpr int64_t kRows = 1024;  // whose events are read together

}  // namespace

Collected asked_by_rows(const data::Table& table, const std::vector<CandidateFacts>& facts, bool exclude_seen) {
  Collected out(facts.size());
  const auto user_code = codes_of(table, table.schema().user);
  for (int64_t begin = 0; begin < table.size(); begin += kRows) {
    const auto rows = table.batch(torch::arange(begin, std::min(begin + kRows, table.size())), false, kAllEvents);
    TORCH_CHECK_VALUE(rows.history.defined(),
                      "evaluate: the table does not know the order of its users' events; read it with task 'sequence'");
    const auto *at = rows.history.offsets.const_data_ptr<int64_t>(),
               *when = rows.history.scene.const_data_ptr<int64_t>();
    const auto* before = rows.history.item.const_data_ptr<int32_t>();
    for (int64_t b = 0; b < rows.size(); ++b) {
      const auto s = rows.scene.const_data_ptr<int64_t>()[b], item = rows.item.const_data_ptr<int64_t>()[b],
                 code = user_code.const_data_ptr<int64_t>()[begin + b];
      ++out.rows[s];
      if (code < 0) {
        ++out.without_user;
        continue;
      }
      Query query{rows.user.const_data_ptr<int64_t>()[b], code, begin + b, {}};
      bool repeated = false;
      for (auto e = at[b]; e < at[b + 1]; ++e) {
        ++(when[e] == s ? query.here : query.elsewhere);
        repeated = repeated || (when[e] == s && before[e] == item && item >= data::kFirstId);
      }
      if (repeated && exclude_seen) {
        ++out.repeated;
        continue;
      }
      query.wanted.push_back(item >= data::kFirstId ? facts[s].place[item] : -1);
      out.queries[s].push_back(std::move(query));
    }
  }
  return out;
}

Collected asked_by_users(const data::Table& table, const data::Interactions& known,
                         const std::vector<CandidateFacts>& facts, bool alone) {
  Collected out(facts.size());
  const auto& schema = table.schema();
  const auto user = table.users(), item = table.items(), scene = table.scenes();
  const auto user_code = codes_of(table, schema.user), item_code = codes_of(table, schema.item);
  const auto *users = user.const_data_ptr<int64_t>(), *items = item.const_data_ptr<int64_t>(),
             *scenes = scene.const_data_ptr<int64_t>(), *codes = user_code.const_data_ptr<int64_t>(),
             *item_codes = item_code.const_data_ptr<int64_t>();
  const auto n = table.size();
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](int64_t r) { return std::tuple(scenes[r], codes[r], item_codes[r], r); };
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key(a) < key(b); });
  int64_t last = -1;
  for (const auto r : order) {
    const auto s = scenes[r];
    ++out.rows[s];
    if (codes[r] < 0) {
      ++out.without_user;
      continue;
    }
    if (last >= 0 && scenes[last] == s && codes[last] == codes[r] && item_codes[last] == item_codes[r]) continue;
    const bool same = last >= 0 && scenes[last] == s && codes[last] == codes[r];
    last = r;
    if (known.scene(s).contains(users[r], items[r]) ||
        (table.also_seen() && table.also_seen()->scene(s).contains(users[r], items[r]))) {
      ++out.repeated;
      continue;
    }
    auto& mine = out.queries[s];
    const bool goes_on = same && !alone && !mine.empty() && mine.back().code == codes[r];
    if (!goes_on) mine.push_back({users[r], codes[r], r, {}});
    auto& query = mine.back();
    query.row = std::min(query.row, r);
    query.wanted.push_back(items[r] >= data::kFirstId ? facts[s].place[items[r]] : -1);
  }
  if (!alone) return out;
  for (auto& mine : out.queries) {
    for (size_t begin = 0, end = 0; begin < mine.size(); begin = end) {
      while (end < mine.size() && mine[end].code == mine[begin].code) ++end;
      for (auto q = begin; q < end; ++q) mine[q].first = begin, mine[q].last = end;
    }
  }
  return out;
}

}  // namespace polyscene::eval
