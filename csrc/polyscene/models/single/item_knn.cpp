#include "polyscene/models/single/item_knn.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "polyscene/core/interleave.h"
#include "polyscene/models/scene_scores.h"

namespace polyscene::models {
namespace {

void check_of_sequences(const std::string& task, const char* name, double value) {
  TORCH_CHECK_VALUE(value == 1 || task == "sequence", "ItemKNN: ", name,
                    " weighs events in their order, which task 'sequence' alone knows, got ", value, " with task '",
                    task, "'");
}

void check_share(const char* name, double value) {
  TORCH_CHECK_VALUE(value > 0 && value <= 1, "ItemKNN: ", name, " must lie in (0, 1], got ", value);
}

}  // namespace

/// Events as two lists of positions: `items` by user, oldest first, and where each item stands among them.
struct ItemKNNImpl::Walks {
  std::vector<int64_t> user_at;  ///< [U + 1]
  std::vector<int32_t> items;    ///< [L]
  std::vector<int32_t> users;    ///< [L], whose event it is
  std::vector<int64_t> item_at;  ///< [I + 1]
  std::vector<int64_t> places;   ///< [L], positions in `items`, in their order
};

ItemKNNImpl::ItemKNNImpl(std::shared_ptr<const data::Schema> schema, ItemKNNOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(this->schema().user >= 0 && this->schema().item >= 0,
                    "ItemKNN: the data must have a user and an item column; name them when the table is read");
  TORCH_CHECK_VALUE(options.neighbours() >= 0, "ItemKNN: neighbours must be 0 or more, got ", options.neighbours());
  TORCH_CHECK_VALUE(options.shrink() >= 0, "ItemKNN: shrink must be 0 or more, got ", options.shrink());
  TORCH_CHECK_VALUE(options.scope() == "scene" || options.scope() == "overall",
                    "ItemKNN: scope must be 'scene' or 'overall', got '", options.scope(), "'");
  const auto& task = this->schema().task;
  check_share("recency", options.recency());
  check_share("nearness", options.nearness());
  check_of_sequences(task, "recency", options.recency());
  check_of_sequences(task, "nearness", options.nearness());
  check_of_sequences(task, "elsewhere", options.elsewhere());
  TORCH_CHECK_VALUE(options.elsewhere() >= 0 && options.elsewhere() <= 1, "ItemKNN: elsewhere must lie in [0, 1], got ",
                    options.elsewhere());
  TORCH_CHECK_VALUE(options.elsewhere() == 1 || options.scope() == "overall",
                    "ItemKNN: elsewhere weighs what scope 'overall' alone sees, got ", options.elsewhere(),
                    " with scope '", options.scope(), "'");
}

bool ItemKNNImpl::fit_closed_form(const data::Table&) {
  encode();
  return true;
}

void ItemKNNImpl::encode() {
  TORCH_CHECK_VALUE(history(), "ItemKNN: was not prepared; fit it, or call prepare(data.train)");
  const auto known = history()->interactions();
  if (made_of_ == known) return;
  similar_.clear();
  made_of_ = known;
}

const ItemKNNImpl::Similar& ItemKNNImpl::similar(int64_t scene) {
  encode();
  const auto key = options.scope() == "overall" ? -1 : scene;
  const auto found = similar_.find(key);
  if (found != similar_.end()) return found->second;
  Similar out;
  out.pairs = key < 0 ? made_of_->pooled() : made_of_->scene(scene);
  const auto items = made_of_->items();
  const auto *user_at = out.pairs.user_offsets.const_data_ptr<int64_t>(),
             *item_at = out.pairs.item_offsets.const_data_ptr<int64_t>();
  const auto *item = out.pairs.items.const_data_ptr<int32_t>(), *user = out.pairs.users.const_data_ptr<int32_t>();
  const bool ordered = options.nearness() < 1;
  const auto walked = ordered ? walks(key) : Walks{};
  std::vector<std::vector<std::pair<float, int32_t>>> rows(items);
  interleaved_for(items, 64, [&](int64_t begin, int64_t end) {
    std::vector<double> together(items), nearest(ordered ? items : 0);
    std::vector<int32_t> met, found;
    const auto add = [&](int32_t j, double weight) {
      if (together[j] == 0) met.push_back(j);
      together[j] += weight;
    };
    const auto add_pairs = [&](int64_t i) {
      for (auto a = item_at[i]; a < item_at[i + 1]; ++a) {
        for (auto b = user_at[user[a]]; b < user_at[user[a] + 1]; ++b) {
          if (item[b] != i) add(item[b], 1);
        }
      }
    };
    const auto add_walks = [&](int64_t i) {
      for (auto a = walked.item_at[i]; a < walked.item_at[i + 1];) {
        const auto who = walked.users[walked.places[a]];
        found.clear();
        for (; a < walked.item_at[i + 1] && walked.users[walked.places[a]] == who; ++a) {
          for (const int step : {-1, 1}) {
            double weight = 1;
            const auto last = step < 0 ? walked.user_at[who] - 1 : walked.user_at[who + 1];
            for (auto b = walked.places[a] + step; b != last && weight > 0; b += step, weight *= options.nearness()) {
              const auto j = walked.items[b];
              if (j == i) continue;
              if (nearest[j] == 0) found.push_back(j);
              nearest[j] = std::max(nearest[j], weight);
            }
          }
        }
        for (const auto j : found) add(j, std::exchange(nearest[j], 0.0));
      }
    };
    for (int64_t i = begin; i < end; ++i) {
      met.clear();
      ordered ? add_walks(i) : add_pairs(i);
      std::sort(met.begin(), met.end());
      const auto mine = static_cast<double>(item_at[i + 1] - item_at[i]);
      auto& row = rows[i];
      for (const auto j : met) {
        const auto other = static_cast<double>(item_at[j + 1] - item_at[j]);
        row.emplace_back(static_cast<float>(together[j] / (std::sqrt(mine * other) + options.shrink())), j);
        together[j] = 0;
      }
      const auto most = static_cast<size_t>(options.neighbours());
      if (most > 0 && row.size() > most) {
        const auto before = [](const auto& a, const auto& b) {
          return a.first > b.first || (a.first == b.first && a.second < b.second);
        };
        std::nth_element(row.begin(), row.begin() + static_cast<int64_t>(most), row.end(), before);
        row.resize(most);
      }
    }
  });
  out.offsets = torch::zeros({items + 1}, torch::kInt64);
  auto* offset = out.offsets.data_ptr<int64_t>();
  for (int64_t i = 0; i < items; ++i) offset[i + 1] = offset[i] + static_cast<int64_t>(rows[i].size());
  out.items = torch::empty({offset[items]}, torch::kInt32);
  out.values = torch::empty({offset[items]});
  for (int64_t i = 0; i < items; ++i) {
    for (size_t j = 0; j < rows[i].size(); ++j) {
      out.values.data_ptr<float>()[offset[i] + static_cast<int64_t>(j)] = rows[i][j].first;
      out.items.data_ptr<int32_t>()[offset[i] + static_cast<int64_t>(j)] = rows[i][j].second;
    }
  }
  return similar_[key] = std::move(out);
}

ItemKNNImpl::Walks ItemKNNImpl::walks(int64_t scene) const {
  const auto known = history();
  const auto people = known->offsets.numel() - 1, items = made_of_->items();
  const auto *at = known->offsets.const_data_ptr<int64_t>(), *where = known->scene.const_data_ptr<int64_t>();
  const auto* item = known->item.const_data_ptr<int32_t>();
  Walks out;
  out.user_at.assign(people + 1, 0);
  out.item_at.assign(items + 1, 0);
  for (int64_t u = data::kFirstId; u < people; ++u) {  // what unknown users did is no walk
    for (auto e = at[u]; e < at[u + 1]; ++e) {
      if (item[e] < data::kFirstId || (scene >= 0 && where[e] != scene)) continue;
      out.items.push_back(item[e]);
      out.users.push_back(static_cast<int32_t>(u));
      ++out.item_at[item[e] + 1];
    }
    out.user_at[u + 1] = static_cast<int64_t>(out.items.size());
  }
  for (int64_t i = 0; i < items; ++i) out.item_at[i + 1] += out.item_at[i];
  out.places.resize(out.items.size());
  auto next = out.item_at;
  for (size_t e = 0; e < out.items.size(); ++e) out.places[next[out.items[e]]++] = static_cast<int64_t>(e);
  return out;
}

torch::Tensor ItemKNNImpl::scores(const torch::Tensor& users, int64_t scene) {
  const auto& mine = similar(scene);
  const auto items = made_of_->items(), count = users.numel();
  auto out = torch::zeros({count, items});
  const auto* user = users.const_data_ptr<int64_t>();
  const auto* offset = mine.offsets.const_data_ptr<int64_t>();
  const auto* other = mine.items.const_data_ptr<int32_t>();
  const auto* value = mine.values.const_data_ptr<float>();
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      float* to = out.data_ptr<float>() + u * items;
      for (const auto* i = mine.pairs.begin(user[u]); i != mine.pairs.end(user[u]); ++i) {
        for (auto j = offset[*i]; j < offset[*i + 1]; ++j) to[other[j]] += value[j];
      }
    }
  });
  return out;
}

torch::Tensor ItemKNNImpl::score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
  return scores(users, scene).index_select(1, items);
}

torch::Tensor ItemKNNImpl::forward(const data::Batch& batch) {
  check(batch);
  if (schema().task == "sequence") {
    return scene_scores(batch, schema().num_scenes(), [&](const torch::Tensor& rows, int64_t scene) {
      return score_events(batch.history.take(rows), scene, scene_items(*this, scene));
    });
  }
  auto out = torch::zeros({batch.size()});
  if (!history()) return out;
  for (int64_t s = 0; s < schema().num_scenes(); ++s) {
    const auto rows = batch.scene.eq(s).nonzero().squeeze(1);
    if (rows.numel() == 0) continue;
    const auto [users, place] = at::_unique(batch.user.index_select(0, rows), /*sorted=*/true, /*return_inverse=*/true);
    out.index_copy_(0, rows, scores(users, s).index({place, batch.item.index_select(0, rows)}));
  }
  return out;
}

torch::Tensor ItemKNNImpl::score_events(const data::Events& events, int64_t scene, const torch::Tensor& items) {
  const auto& mine = similar(scene);
  const auto count = made_of_->items(), people = events.offsets.numel() - 1;
  const bool overall = options.scope() == "overall";
  const auto *at = events.offsets.const_data_ptr<int64_t>(), *where = events.scene.const_data_ptr<int64_t>(),
             *offset = mine.offsets.const_data_ptr<int64_t>(), *wanted = items.const_data_ptr<int64_t>();
  const auto *item = events.item.const_data_ptr<int32_t>(), *other = mine.items.const_data_ptr<int32_t>();
  const auto* value = mine.values.const_data_ptr<float>();
  auto out = torch::empty({people, items.numel()});
  at::parallel_for(0, people, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(count);
    for (auto p = begin; p < end; ++p) {
      std::fill(sums.begin(), sums.end(), 0.f);
      double weight = 1;
      for (auto e = at[p + 1] - 1; e >= at[p]; --e) {
        if (item[e] < data::kFirstId || (!overall && where[e] != scene)) continue;
        const auto counts = static_cast<float>(where[e] == scene ? weight : options.elsewhere() * weight);
        for (auto j = offset[item[e]]; j < offset[item[e] + 1]; ++j) sums[other[j]] += counts * value[j];
        weight *= options.recency();
      }
      auto* to = out.data_ptr<float>() + p * items.numel();
      for (int64_t c = 0; c < items.numel(); ++c) to[c] = sums[wanted[c]];
    }
  });
  return out;
}

torch::Tensor ItemKNNImpl::of_items(const torch::Tensor& met, int64_t scene) {
  const auto& mine = similar(scene);
  auto out = torch::zeros({made_of_->items()});
  const auto* offset = mine.offsets.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < met.numel(); ++n) {
    const auto item = met.const_data_ptr<int64_t>()[n];
    for (auto j = offset[item]; j < offset[item + 1]; ++j)
      out.data_ptr<float>()[mine.items.const_data_ptr<int32_t>()[j]] += mine.values.const_data_ptr<float>()[j];
  }
  return out;
}

torch::Tensor ItemKNNImpl::score_newcomers(const Met& met, int64_t scene, const torch::Tensor& items) {
  const auto from = options.scope() == "overall" ? -1 : scene;
  auto out = torch::empty({met.people(), items.numel()});
  for (int64_t n = 0; n < met.people(); ++n) out[n].copy_(of_items(met.items(n, from), scene).index_select(0, items));
  return out;
}

torch::Tensor ItemKNNImpl::similarity(int64_t item, int64_t from, int64_t to, const torch::Tensor& items) {
  if (from != to && options.scope() != "overall")
    return torch::full({items.numel()}, -std::numeric_limits<float>::infinity());
  const auto out = of_items(torch::tensor({item}, torch::kInt64), to).index_select(0, items);
  return out.masked_fill(out.eq(0), -std::numeric_limits<float>::infinity());
}

torch::Tensor ItemKNNImpl::reasons(int64_t, const Met& met, int64_t scene, const torch::Tensor& items) {
  auto out = torch::zeros({items.numel(), met.item.numel()});
  const bool overall = options.scope() == "overall";
  for (int64_t j = 0; j < met.item.numel(); ++j) {
    if (!overall && met.scene[j].item<int64_t>() != scene) continue;
    const auto one = met.item.narrow(0, j, 1);
    // An item that several scenes hold is one pair here.
    const auto times = overall ? met.item.eq(one).sum().item<int64_t>() : 1;
    const auto counts = met.scene[j].item<int64_t>() == scene ? 1 : options.elsewhere();
    out.select(1, j).copy_(of_items(one, scene).index_select(0, items) * (counts / static_cast<double>(times)));
  }
  return out;
}

}  // namespace polyscene::models
