#include "polyscene/models/cross/cross_ease.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "polyscene/core/random.h"

namespace polyscene::models {
namespace {

constexpr int64_t kGroups = 4;  // cold, few, some, many
constexpr int64_t kAtOnce = 256;
constexpr int64_t kJudged = 4096;  // users that gates are judged on, at least as many where there are
constexpr int64_t kK = 10;
constexpr size_t kBlock = 512;
constexpr std::array<float, 5> kPrior = {0.f, 0.1f, 0.3f, 1.f, 3.f};
constexpr std::array<float, 6> kTaste = {0.f, 0.1f, 0.3f, 1.f, 3.f, 10.f};

int64_t group_of(int64_t known) { return known == 0 ? 0 : known <= 5 ? 1 : known <= 20 ? 2 : 3; }

// NDCG@k of wanted items under scores of the candidates; those that are known are left out.
double ndcg(const std::vector<float>& scores, const std::vector<char>& known, const std::vector<int64_t>& wanted) {
  double gain = 0, best = 0;
  for (size_t j = 0; j < wanted.size(); ++j) {
    const float mine = scores[wanted[j]];
    int32_t better = 0, same = -1;
    for (size_t begin = 0; begin < scores.size() && better < kK; begin += kBlock) {  // k are better: no gain
      const auto end = std::min(begin + kBlock, scores.size());
      for (size_t c = begin; c < end; ++c) {
        better += !known[c] && scores[c] > mine;
        same += !known[c] && scores[c] == mine;
      }
    }
    if (j < kK) best += 1 / std::log2(static_cast<double>(j) + 2);
    if (better >= kK) continue;
    const double rank = 1 + better + 0.5 * same;
    if (rank <= kK) gain += 1 / std::log2(rank + 1);
  }
  return gain / best;
}

}  // namespace

CrossEASEImpl::CrossEASEImpl(std::shared_ptr<const data::Schema> schema, CrossEASEOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  const auto& known = this->schema();
  TORCH_CHECK_VALUE(known.user >= 0 && known.item >= 0,
                    "CrossEASE: the data must have a user and an item column; name them when the table is read");
  TORCH_CHECK_VALUE(options.l2() > 0, "CrossEASE: l2 must be positive, got ", options.l2());
  TORCH_CHECK_VALUE(options.ridge() > 0, "CrossEASE: ridge must be positive, got ", options.ridge());
  TORCH_CHECK_VALUE(options.margin() >= 0, "CrossEASE: margin must be 0 or more, got ", options.margin());
  TORCH_CHECK_VALUE(options.held_out() > 0 && options.held_out() < 1, "CrossEASE: held_out must be in (0, 1), got ",
                    options.held_out());
  gates = register_buffer("gates", torch::zeros({known.num_scenes(), kGroups, 2}));
  open_gates();
}

void CrossEASEImpl::open_gates() {
  gates.zero_();
  gates.select(1, 0).select(1, 0).fill_(1);  // whom nothing is known of is served by popularity
}

CrossEASEImpl::Fitted CrossEASEImpl::fit(const data::Interactions& known, int64_t scene) const {
  const auto& mine = known.scene(scene);
  Fitted out{mine, EaseWeights(mine, options.l2()), mean_row(mine, mine.visitors), {}};
  for (int64_t other = 0; other < known.scenes(); ++other) {
    out.sources.emplace_back();
    if (other != scene) out.sources.back().emplace(known.scene(other), mine, options.ridge());
  }
  return out;
}

CrossEASEImpl::Parts CrossEASEImpl::parts(const Fitted& fitted, const torch::Tensor& users) {
  const auto count = users.numel(), items = fitted.prior.numel();
  Parts out{torch::zeros({count, items}), torch::zeros({count, items})};
  const auto* user = users.const_data_ptr<int64_t>();
  std::vector<torch::Tensor> weights(fitted.sources.size());
  for (size_t s = 0; s < weights.size(); ++s) {
    if (fitted.sources[s]) weights[s] = fitted.sources[s]->weights(users);
  }
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch;
    for (int64_t u = begin; u < end; ++u) {
      fitted.own.add(user[u], out.own.data_ptr<float>() + u * items, scratch);
      const auto knows = [&](size_t s) { return fitted.sources[s] && fitted.sources[s]->knows(user[u]); };
      float sources = 0;
      for (size_t s = 0; s < weights.size(); ++s) sources += knows(s);
      for (size_t s = 0; s < weights.size(); ++s) {
        if (!knows(s)) continue;
        const float* mine = weights[s].const_data_ptr<float>() + u * weights[s].size(1);
        fitted.sources[s]->add(mine, 1 / sources, out.taste.data_ptr<float>() + u * items, user[u]);
      }
    }
  });
  return out;
}

void CrossEASEImpl::judge(const data::Interactions& known) {
  open_gates();
  // Some pairs go; what is left fits the parts that are judged on them.
  const RandomStream stream(0, "cross_ease");
  std::vector<int64_t> user, item, scene;
  for (int64_t s = 0; s < known.scenes(); ++s) {
    const auto& mine = known.scene(s);
    for (int64_t u = 0; u < known.users(); ++u) {
      for (const auto* i = mine.begin(u); i != mine.end(u); ++i) {
        const auto pair = static_cast<uint64_t>((s * known.users() + u) * known.items() + *i);
        if (mine.degree(u) > 1 && stream.uniform(pair) < options.held_out()) continue;
        user.push_back(u);
        item.push_back(*i);
        scene.push_back(s);
      }
    }
  }
  const data::Interactions rest(schema(), torch::tensor(user, torch::kInt64), torch::tensor(item, torch::kInt64),
                                torch::tensor(scene, torch::kInt64));
  for (int64_t s = 0; s < known.scenes(); ++s) {
    judge_warm(known, rest, s);
    judge_cold(fitted(s), s);
  }
}

void CrossEASEImpl::judge_cold(const Fitted& mine, int64_t s) {
  // Everybody whom another scene knows, as if this one did not: without the row of their own in taste and prior.
  const auto& pairs = mine.pairs;
  std::vector<int64_t> judged;
  const auto* visitor = pairs.visitors.const_data_ptr<int64_t>();
  for (int64_t v = 0; v < pairs.visitors.numel(); ++v) {
    const bool elsewhere = std::any_of(mine.sources.begin(), mine.sources.end(),
                                       [&](const auto& source) { return source && source->knows(visitor[v]); });
    if (elsewhere) judged.push_back(visitor[v]);
  }
  const auto step = std::max<int64_t>(1, static_cast<int64_t>(judged.size()) / kJudged);
  std::vector<int64_t> some;
  for (size_t q = 0; q < judged.size(); q += step) some.push_back(judged[q]);
  if (some.size() < 2) return;
  const auto users = torch::tensor(some, torch::kInt64);
  const auto candidates = pairs.candidates.numel();
  const auto* candidate = pairs.candidates.const_data_ptr<int64_t>();
  const auto visitors = static_cast<float>(pairs.visitors.numel());
  constexpr auto kChoices = static_cast<int64_t>(kTaste.size());
  auto found = torch::zeros({users.numel(), kChoices}, torch::kFloat64);
  for (int64_t begin = 0; begin < users.numel(); begin += kAtOnce) {
    const auto count = std::min(kAtOnce, users.numel() - begin);
    const auto made = parts(mine, users.slice(0, begin, begin + count));
    at::parallel_for(0, count, 1, [&](int64_t from, int64_t to) {
      std::vector<float> prior(mine.prior.numel()), scores(candidates);
      const std::vector<char> seen(candidates);
      for (auto q = from; q < to; ++q) {
        const auto u = some[begin + q];
        std::copy_n(mine.prior.const_data_ptr<float>(), prior.size(), prior.data());
        const auto own = 1 / (visitors * std::sqrt(static_cast<float>(pairs.degree(u))));
        std::vector<int64_t> wanted;
        for (const auto* i = pairs.begin(u); i != pairs.end(u); ++i) {
          prior[*i] -= own;
          wanted.push_back(std::lower_bound(candidate, candidate + candidates, static_cast<int64_t>(*i)) - candidate);
        }
        const float* taste = made.taste.const_data_ptr<float>() + q * made.taste.size(1);
        for (int64_t choice = 0; choice < kChoices; ++choice) {
          for (int64_t c = 0; c < candidates; ++c) {
            scores[c] = prior[candidate[c]] + kTaste[choice] * taste[candidate[c]];
          }
          found.data_ptr<double>()[(begin + q) * kChoices + choice] = ndcg(scores, seen, wanted);
        }
      }
    });
  }
  const auto best = found.mean(0).argmax().item<int64_t>();
  gates[s][0][1] = helps(found.select(1, best) - found.select(1, 0)) ? kTaste[best] : 0.f;
}

bool CrossEASEImpl::helps(const torch::Tensor& gain) const {
  const double error = gain.std().item<double>() / std::sqrt(static_cast<double>(gain.numel()));
  const double mean = gain.mean().item<double>();
  return mean > 0 && mean > options.margin() * error;
}

void CrossEASEImpl::judge_warm(const data::Interactions& known, const data::Interactions& rest, int64_t s) {
  const auto& all = known.scene(s);
  const auto& left = rest.scene(s);
  const auto candidates = left.candidates.numel();
  std::vector<int64_t> place(known.items(), -1), judged;
  const auto* candidate = left.candidates.const_data_ptr<int64_t>();
  for (int64_t c = 0; c < candidates; ++c) place[candidate[c]] = c;
  std::vector<std::vector<int64_t>> wanted;
  for (int64_t u = 0; u < known.users(); ++u) {
    std::vector<int64_t> mine;
    for (const auto* i = all.begin(u); i != all.end(u); ++i) {
      if (!left.contains(u, *i) && place[*i] >= 0) mine.push_back(place[*i]);
    }
    if (mine.empty()) continue;
    judged.push_back(u);
    wanted.push_back(mine);
  }
  if (judged.empty()) return;
  const auto mine = fit(rest, s);
  const auto prior = mine.prior.index_select(0, left.candidates);
  const float* b = prior.const_data_ptr<float>();
  const auto users = torch::tensor(judged, torch::kInt64);
  constexpr int64_t kChoices = static_cast<int64_t>(kPrior.size() * kTaste.size());
  auto found = torch::zeros({users.numel(), kChoices}, torch::kFloat64);
  for (int64_t begin = 0; begin < users.numel(); begin += kAtOnce) {
    const auto count = std::min(kAtOnce, users.numel() - begin);
    const auto made = parts(mine, users.slice(0, begin, begin + count));
    const auto own = made.own.index_select(1, left.candidates), taste = made.taste.index_select(1, left.candidates);
    at::parallel_for(0, count, 1, [&](int64_t from, int64_t to) {
      std::vector<float> scores(candidates);
      std::vector<char> seen(candidates);
      for (auto q = from; q < to; ++q) {
        const auto u = judged[begin + q];
        std::fill(seen.begin(), seen.end(), 0);
        for (const auto* i = left.begin(u); i != left.end(u); ++i) seen[place[*i]] = 1;
        const float *e = own.const_data_ptr<float>() + q * candidates,
                    *t = taste.const_data_ptr<float>() + q * candidates;
        for (int64_t choice = 0; choice < kChoices; ++choice) {
          const float p = kPrior[choice / kTaste.size()], c = kTaste[choice % kTaste.size()];
          for (int64_t i = 0; i < candidates; ++i) scores[i] = e[i] + p * b[i] + c * t[i];
          found.data_ptr<double>()[(begin + q) * kChoices + choice] = ndcg(scores, seen, wanted[begin + q]);
        }
      }
    });
  }
  for (int64_t group = 1; group < kGroups; ++group) {
    std::vector<int64_t> rows;
    for (size_t q = 0; q < judged.size(); ++q) {
      if (group_of(left.degree(judged[q])) == group) rows.push_back(static_cast<int64_t>(q));
    }
    if (rows.size() < 2) continue;
    const auto of_group = found.index_select(0, torch::tensor(rows, torch::kInt64))
                              .view({-1, static_cast<int64_t>(kPrior.size()), static_cast<int64_t>(kTaste.size())});
    const auto mean = of_group.mean(0);  // [priors, tastes]
    const auto of = [&](int64_t p, int64_t c) { return of_group.select(1, p).select(1, c); };
    // From the scene's own weights to a prior, and from there to another scene, each only where it helps.
    const auto wanted = mean.select(1, 0).argmax().item<int64_t>();
    const auto alone = helps(of(wanted, 0) - of(0, 0)) ? wanted : 0;
    const auto best = mean.argmax().item<int64_t>();
    const auto p = best / static_cast<int64_t>(kTaste.size()), c = best % static_cast<int64_t>(kTaste.size());
    const bool in = c > 0 && helps(of(p, c) - of(alone, 0));
    gates[s][group][0] = kPrior[in ? p : alone];
    gates[s][group][1] = in ? kTaste[c] : 0.f;
  }
}

bool CrossEASEImpl::fit_closed_form(const data::Table&) {
  const torch::NoGradGuard no_grad;
  encode();
  for (int64_t s = 0; s < made_of_->scenes(); ++s) fitted(s);
  judge(*made_of_);
  return true;
}

void CrossEASEImpl::encode() {
  TORCH_CHECK_VALUE(history(), "CrossEASE: was not prepared; fit it, or call prepare(data.train)");
  const auto known = history()->interactions();
  if (made_of_ == known) return;
  fitted_.clear();
  made_of_ = known;
}

const CrossEASEImpl::Fitted& CrossEASEImpl::fitted(int64_t scene) {
  encode();
  const auto found = fitted_.find(scene);
  if (found != fitted_.end()) return found->second;
  return fitted_.emplace(scene, fit(*made_of_, scene)).first->second;
}

torch::Tensor CrossEASEImpl::gates_of(const Fitted& fitted, const torch::Tensor& users, int64_t scene) const {
  std::vector<int64_t> group;
  const auto* user = users.const_data_ptr<int64_t>();
  for (int64_t u = 0; u < users.numel(); ++u) group.push_back(group_of(fitted.pairs.degree(user[u])));
  return gates[scene].to(torch::kFloat32).index_select(0, torch::tensor(group, torch::kInt64));
}

torch::Tensor CrossEASEImpl::score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
  const auto& mine = fitted(scene);
  auto made = parts(mine, users);
  const auto gate = gates_of(mine, users, scene);
  made.taste.mul_(gate.narrow(1, 1, 1));
  return made.own.add_(made.taste).addcmul_(gate.narrow(1, 0, 1), mine.prior.unsqueeze(0)).index_select(1, items);
}

std::array<torch::Tensor, 3> CrossEASEImpl::pick(const data::Batch& batch) {
  check(batch);
  std::array<torch::Tensor, 3> out;
  for (auto& part : out) part = torch::zeros({batch.size()}, gates.options());
  if (!history()) return out;
  for (int64_t s = 0; s < schema().num_scenes(); ++s) {
    const auto rows = batch.scene.eq(s).nonzero().squeeze(1);
    if (rows.numel() == 0) continue;
    const auto [users, place] = at::_unique(batch.user.index_select(0, rows), /*sorted=*/true, /*return_inverse=*/true);
    const auto item = batch.item.index_select(0, rows);
    const auto& mine = fitted(s);
    const auto made = parts(mine, users);
    const auto gate = gates_of(mine, users, s).index_select(0, place);  // [n, 2]
    const std::array<torch::Tensor, 3> values = {made.own.index({place, item}),
                                                 gate.select(1, 0) * mine.prior.index_select(0, item),
                                                 gate.select(1, 1) * made.taste.index({place, item})};
    for (size_t part = 0; part < 3; ++part) out[part].index_copy_(0, rows, values[part].to(out[part].scalar_type()));
  }
  return out;
}

torch::Tensor CrossEASEImpl::forward(const data::Batch& batch) {
  const auto [own, prior, taste] = pick(batch);
  return own + taste + prior;
}

Explanation CrossEASEImpl::explain(const data::Batch& batch) {
  const auto [own, prior, taste] = pick(batch);
  return {{"own", own}, {"prior", prior}, {"taste", taste}};
}

torch::Tensor CrossEASEImpl::gate_of(const Met& met, int64_t person, int64_t scene) const {
  return gates[scene][group_of(met.items(person, scene).numel())].to(torch::kFloat32);
}

torch::Tensor CrossEASEImpl::by_item(int64_t user, const Met& met, int64_t scene, bool summed) {
  const auto& mine = fitted(scene);
  const auto gate = gate_of(met, 0, scene)[1].item<float>();
  auto out = torch::zeros({summed ? 1 : met.item.numel(), mine.prior.numel()});  // [L or 1, I]
  const auto row = [&](int64_t n) { return out.data_ptr<float>() + (summed ? 0 : n * out.size(1)); };
  std::vector<float> scratch;
  float sources = 0;
  for (size_t s = 0; s < mine.sources.size(); ++s)
    sources += mine.sources[s] && met.positions(0, static_cast<int64_t>(s)).numel() > 0;
  for (size_t s = 0; s < mine.sources.size(); ++s) {
    const auto at = met.positions(0, static_cast<int64_t>(s));
    if (at.numel() == 0) continue;
    const auto items = met.item.index_select(0, at);
    const auto* place = at.const_data_ptr<int64_t>();
    if (!mine.sources[s]) {  // the scene itself
      if (summed) mine.own.add(items, row(0), scratch);
      for (int64_t j = 0; !summed && j < at.numel(); ++j) mine.own.add(items.narrow(0, j, 1), row(place[j]), scratch);
    } else if (gate != 0) {
      auto weights = mine.sources[s]->weights_by_item(user, items);
      if (summed) weights = weights.sum(0, /*keepdim=*/true);
      for (int64_t j = 0; j < weights.size(0); ++j)
        mine.sources[s]->add(weights.const_data_ptr<float>() + j * weights.size(1), gate / sources, row(place[j]),
                             user);
    }
  }
  return out;
}

torch::Tensor CrossEASEImpl::score_newcomers(const Met& met, int64_t scene, const torch::Tensor& items) {
  const torch::NoGradGuard no_grad;
  const auto& mine = fitted(scene);
  auto out = torch::empty({met.people(), items.numel()});
  for (int64_t n = 0; n < met.people(); ++n) {
    const auto at = met.positions(n);
    const Met alone{torch::tensor({int64_t{0}, at.numel()}), met.item.index_select(0, at),
                    met.scene.index_select(0, at)};
    const auto prior = gate_of(met, n, scene)[0] * mine.prior;
    out[n].copy_((by_item(0, alone, scene, /*summed=*/true)[0] + prior).index_select(0, items));
  }
  return out;
}

torch::Tensor CrossEASEImpl::similarity(int64_t item, int64_t from, int64_t to, const torch::Tensor& items) {
  const torch::NoGradGuard no_grad;
  const auto& mine = fitted(to);
  const auto one = torch::tensor({item}, torch::kInt64);
  auto out = torch::zeros({mine.prior.numel()});
  std::vector<float> scratch;
  if (from == to) {
    mine.own.add(one, out.data_ptr<float>(), scratch);
  } else {
    const auto weights = mine.sources[from]->weights_by_item(0, one);
    mine.sources[from]->add(weights.const_data_ptr<float>(), 1, out.data_ptr<float>());
  }
  return out.index_select(0, items);
}

torch::Tensor CrossEASEImpl::reasons(int64_t user, const Met& met, int64_t scene, const torch::Tensor& items) {
  const torch::NoGradGuard no_grad;
  encode();
  return by_item(user, met, scene, /*summed=*/false).index_select(1, items).t().contiguous();
}

}  // namespace polyscene::models
