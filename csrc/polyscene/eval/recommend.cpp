#include "polyscene/eval/recommend.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "polyscene/core/errors.h"
#include "polyscene/eval/codes.h"
#include "polyscene/eval/met.h"
#include "polyscene/eval/ranks.h"
#include "polyscene/eval/scores_after.h"
#include "polyscene/models/multi/specialist.h"
#include "polyscene/models/registry.h"

namespace polyscene::eval {
namespace {

constexpr int64_t kPairs = 65'536;             // candidates scored at once
constexpr int64_t kScores = int64_t{1} << 23;  // and where a user and an item are all there is of them

// Every (scene, item) with training rows: scenes and items, int64 [C] each.
std::pair<torch::Tensor, torch::Tensor> candidates_of(const data::History& history, int64_t scene) {
  auto counts = history.item_count;  // [S, I]
  if (scene >= 0) counts = counts.slice(0, scene, scene + 1);
  counts = counts.slice(1, data::kFirstId);
  const auto found = counts.gt(0).nonzero();  // [C, 2]
  return {found.select(1, 0) + std::max<int64_t>(scene, 0), found.select(1, 1) + data::kFirstId};
}

data::Batch candidate_batch(const data::History& history, const torch::Tensor& user_fields, const torch::Tensor& user,
                            const torch::Tensor& item, const torch::Tensor& scene) {
  const auto& schema = *history.schema;
  data::Batch out;
  out.categorical = user_fields + history.item_fields.index_select(0, item);
  for (int64_t f = 0; f < schema.num_fields(); ++f) {
    if (schema.categorical[f].side == "context") out.categorical.select(1, f).fill_(data::kMissing);
  }
  out.numeric = history.user_numeric.index_select(0, user) + history.item_numeric.index_select(0, item);
  for (const auto& field : schema.lists) {
    const auto found = history.item_lists.find(field.name);
    if (found != history.item_lists.end()) {
      out.sequence[field.name] = found->second.take(item);
    } else {
      out.sequence[field.name] = {torch::empty({0}, torch::kInt32), torch::zeros({item.numel() + 1}, torch::kInt64)};
    }
  }
  out.scene = scene;
  out.user = user;
  out.item = item;
  out.row = torch::arange(item.numel());
  out.schema_digest = schema.digest();
  return out;
}

// How often each candidate was met, of labels 0 and 1 with a 1 where the events are kept, as shares of all.
torch::Tensor popularity_of(const data::History& history, const torch::Tensor& scenes, const torch::Tensor& items) {
  auto counts = history.item_count;  // [S, I]
  if (history.schema->task == "ctr" && history.keeps_events()) {
    const auto liked = history.label.gt(0.5).nonzero().squeeze(1);
    const auto width = counts.size(1);
    const auto cell = history.scene.index_select(0, liked) * width + history.item.index_select(0, liked);
    counts = torch::bincount(cell, {}, counts.numel()).view({-1, width});
  }
  const auto share = counts.index({scenes, items}).to(torch::kFloat32);
  return items.numel() > 0 ? share / share.sum().clamp_min(1) : share;
}

// True for each candidate that one user's events hold.
torch::Tensor seen_items(const data::Events& events, int64_t user, const torch::Tensor& items) {
  const auto* at = events.offsets.const_data_ptr<int64_t>() + user;
  return torch::isin(items, events.item.slice(0, at[0], at[1]).to(torch::kInt64));
}

// Of candidates that come scene by scene, [U, C], by a function of a scene and its items.
template <typename Score>
torch::Tensor scene_by_scene(int64_t users, const torch::Tensor& scenes, const torch::Tensor& items, Score&& score) {
  const auto n = items.numel();
  auto out = torch::empty({users, n});
  const auto* scene = scenes.const_data_ptr<int64_t>();
  for (int64_t begin = 0, end = 0; begin < n; begin = end) {
    while (end < n && scene[end] == scene[begin]) ++end;
    out.slice(1, begin, end).copy_(score(scene[begin], items.slice(0, begin, end)));
  }
  return out;
}

// Rows of a scene, a user each, after these events; of what a row holds besides nothing is known.
data::Batch rows_after(const data::Schema& schema, const torch::Tensor& users, const data::Events& events,
                       int64_t scene) {
  data::Batch out;
  out.user = users;
  out.item = torch::zeros_like(users);
  out.scene = torch::full_like(users, scene);
  out.categorical = torch::full({users.numel(), schema.num_fields()}, data::kMissing, torch::kInt32);
  out.categorical.select(1, schema.user).copy_(users);
  out.categorical.select(1, schema.item).zero_();
  out.numeric = torch::zeros({users.numel(), schema.numeric_width()});
  out.row = torch::arange(users.numel());
  out.history = events;
  out.schema_digest = schema.digest();
  return out;
}

// Scores of a ranking model, [U, C]: of `folded` people from what they met, of the others by their rows.
torch::Tensor ranking_scores(models::Model& model, const torch::Tensor& users, const data::Events& all,
                             const torch::Tensor& folded, const torch::Tensor& scenes, const torch::Tensor& items) {
  auto out = torch::empty({users.numel(), items.numel()});
  const auto rows = folded.logical_not().nonzero().squeeze(1), lists = folded.nonzero().squeeze(1);
  if (rows.numel() > 0) {
    const auto mine = users.index_select(0, rows);
    out.index_copy_(0, rows, scene_by_scene(rows.numel(), scenes, items, [&](int64_t scene, const torch::Tensor& ids) {
                      return model.score_items(mine, scene, ids).to(torch::kFloat32);
                    }));
  }
  if (lists.numel() > 0) {
    const auto met = met_of(all.take(lists));
    out.index_copy_(0, lists,
                    scene_by_scene(lists.numel(), scenes, items, [&](int64_t scene, const torch::Tensor& ids) {
                      auto& serves = dynamic_cast<models::ServesNewcomers&>(models::answering(model, scene));
                      return serves.score_newcomers(met, scene, ids).to(torch::kFloat32);
                    }));
  }
  return out;
}

// Who is scored from what they met: those with events, when the model can.
torch::Tensor folded_in(models::Model& model, const RecommendRequest& request) {
  if (model.schema().task != "ranking" || !request.events.defined())
    return torch::zeros_like(request.user, torch::kBool);
  const auto changed = met_of(request.events).offsets.diff().gt(0);  // [U]
  if (dynamic_cast<models::ServesNewcomers*>(&models::answering(model, 0))) return changed;
  TORCH_CHECK_VALUE(!changed.logical_and(request.user.lt(data::kFirstId)).any().item<bool>(),
                    "recommend: ", model.name(),
                    " has nothing for people whom training did not know; those that serve them: ",
                    join(models::list(&models::Entry::serves_newcomers)));
  return torch::zeros_like(changed);
}

void check(const models::Model& model, const RecommendRequest& request) {
  const auto& schema = model.schema();
  TORCH_CHECK_VALUE(schema.user >= 0 && schema.item >= 0, "recommend: the data must name a user and an item column");
  TORCH_CHECK_VALUE(model.history() && model.history()->item_count.defined(), "recommend: ", model.name(),
                    " was not trained yet, it knows no items; fit it, or call prepare(data.train) before a training "
                    "loop of your own");
  TORCH_CHECK_VALUE(!request.exclude_seen || model.history()->keeps_events() || request.events.defined(),
                    "recommend: ", model.name(),
                    " was trained without keeping the behaviour of users, so that it does not know what "
                    "they have seen; give events, or exclude_seen=False");
  TORCH_CHECK_VALUE(request.k > 0, "recommend: k must be positive, got ", request.k);
  TORCH_CHECK_INDEX(request.scene >= -1 && request.scene < schema.num_scenes(), "recommend: scene must be in [0, ",
                    schema.num_scenes(), ") or -1 for all, got ", request.scene);
  const auto users = request.user.numel();
  TORCH_CHECK_VALUE(!request.user_fields.defined() ||
                        (request.user_fields.size(0) == users && request.user_fields.size(1) == schema.num_fields()),
                    "recommend: user_fields must have shape [", users, ", ", schema.num_fields(), "], got ",
                    request.user_fields.sizes());
  TORCH_CHECK_VALUE(!request.events.defined() || request.events.offsets.numel() == users + 1,
                    "recommend: events must be one list a user");
}

}  // namespace

torch::Tensor rows_of(const data::CategoricalField& field, const std::vector<std::string>& ids) {
  const auto index = field.ids.index();
  auto out = torch::zeros({static_cast<int64_t>(ids.size())}, torch::kInt64);
  for (size_t n = 0; n < ids.size(); ++n) {
    if (const auto found = index.find(ids[n]); found != index.end()) {
      out.data_ptr<int64_t>()[n] = found->second + data::kFirstId;
    }
  }
  return out;
}

Recommendation recommend(models::Model& model, const RecommendRequest& request) {
  check(model, request);
  const torch::NoGradGuard no_grad;
  const models::EvaluationMode evaluating(model);
  const auto& history = *model.history();
  const auto users = request.user.numel(), k = request.k;
  const auto [scenes, items] = candidates_of(history, request.scene);
  const auto n = items.numel();
  const auto length =
      model.schema().task == "sequence" ? events_wanted(model) : std::max<int64_t>(model.history_length(), 1);
  const auto fields =
      request.user_fields.defined() ? request.user_fields : history.user_fields.index_select(0, request.user);
  // Everything the user did, to leave out what was seen; the newest events, to follow them.
  const auto all = behaviour(history, request.user, request.events, std::numeric_limits<int32_t>::max());
  const auto newest = behaviour(history, request.user, request.events, length);

  Recommendation out;
  out.item = torch::full({users, k}, -1, torch::kInt64);
  out.scene = torch::full({users, k}, -1, torch::kInt64);
  out.score = torch::full({users, k}, kLeftOut);
  const auto has_events = all.offsets.diff().gt(0);
  out.known = request.user.ge(data::kFirstId) | has_events;
  if (request.user_fields.defined()) out.known = out.known | request.user_fields.ne(0).any(1);
  torch::Tensor popularity;  // [C], once somebody is served by it

  const bool follows = model.schema().task == "sequence", ranks = follows || model.schema().task == "ranking";
  const auto folded = folded_in(model, request);
  if (follows) out.known = has_events;
  if (ranks && !follows) out.known = request.user.ge(data::kFirstId).logical_or(folded);
  if (ranks) model.encode();
  const auto step = std::max<int64_t>(1, (ranks ? kScores : kPairs) / std::max<int64_t>(n, 1));
  for (int64_t begin = 0; begin < users && n > 0; begin += step) {
    const auto mine = torch::arange(begin, std::min(begin + step, users));
    const auto count = mine.numel();
    const auto owner = torch::arange(count).repeat_interleave(n);
    const auto user_rows = request.user.index_select(0, mine);
    torch::Tensor scores;
    if (follows) {
      const auto before = newest.take(mine);
      scores = scene_by_scene(count, scenes, items, [&](int64_t scene, const torch::Tensor& ids) {
        return scores_after(model, rows_after(model.schema(), user_rows, before, scene), scene, ids);
      });
    } else if (ranks) {
      scores = ranking_scores(model, user_rows, all.take(mine), folded.index_select(0, mine), scenes, items);
    } else {
      const auto batch =
          candidate_batch(history, fields.index_select(0, mine).index_select(0, owner),
                          user_rows.index_select(0, owner), items.repeat({count}), scenes.repeat({count}));
      const auto logits = model.score(batch, newest.take(mine), owner).to(torch::kFloat32).view({count, n});
      scores = model.schema().task == "rating" ? logits : logits.sigmoid();
    }
    for (int64_t u = 0; u < count; ++u) {
      auto row = scores[u];
      // A model that tells no candidate from another knows nothing that it can use.
      if (ranks && n > 1 && row.max().item<float>() == row.min().item<float>()) out.known[begin + u] = false;
      if (!out.known[begin + u].item<bool>()) {
        if (!popularity.defined()) popularity = popularity_of(history, scenes, items);
        row.copy_(popularity);
      }
      if (request.exclude_seen) row.masked_fill_(seen_items(all, begin + u, items), kLeftOut);
      // Over all scenes an item stands once, where it scores best.
      const auto* score = row.const_data_ptr<float>();
      if (has_nan(score, n)) {
        const auto bad = row.isnan().nonzero()[0][0].item<int64_t>();
        TORCH_CHECK_VALUE(false, model.name(), ": a score of user row ", user_rows[u].item<int64_t>(), " in scene '",
                          scene_name(model.schema(), scenes[bad].item<int64_t>()), "' is NaN");
      }
      std::vector<int64_t> order(n), taken;
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return score[a] > score[b]; });
      const auto *item = items.const_data_ptr<int64_t>(), *scene = scenes.const_data_ptr<int64_t>();
      for (int64_t i = 0; i < n && static_cast<int64_t>(taken.size()) < k; ++i) {
        const auto c = order[i];
        if (score[c] == kLeftOut) break;
        if (std::find(taken.begin(), taken.end(), item[c]) != taken.end()) continue;
        const auto to = (begin + u) * k + static_cast<int64_t>(taken.size());
        out.item.data_ptr<int64_t>()[to] = item[c];
        out.scene.data_ptr<int64_t>()[to] = scene[c];
        out.score.data_ptr<float>()[to] = score[c];
        taken.push_back(item[c]);
      }
    }
  }
  return out;
}

}  // namespace polyscene::eval
