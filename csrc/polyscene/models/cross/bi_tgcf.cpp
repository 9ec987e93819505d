#include "polyscene/models/cross/bi_tgcf.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "polyscene/core/errors.h"
#include "polyscene/models/embedding_l2.h"
#include "polyscene/nn/gemm.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/row_products.h"
#include "polyscene/nn/unit_rows.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

void check_one_of(const char* option, const std::string& given, const std::vector<std::string>& known) {
  TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), given) != known.end(), "BiTGCF: ", option, " must be one of ",
                    join(known), ", got '", given, "'", suggestion(given, known));
}

// Rows of a matrix, one after another.
struct Entries {
  std::vector<int64_t> offsets = {0};
  std::vector<int32_t> columns;
  std::vector<float> values;

  void put(int64_t column, double value) {
    columns.push_back(static_cast<int32_t>(column));
    values.push_back(static_cast<float>(value));
  }
  void end_row() { offsets.push_back(static_cast<int64_t>(columns.size())); }
  std::shared_ptr<const nn::SparseMatrix> matrix(int64_t width) const {
    return std::make_shared<nn::SparseMatrix>(torch::tensor(offsets), torch::tensor(columns, torch::kInt32),
                                              torch::tensor(values), width);
  }
};

// Rows of x; a view where they follow one another, as all items of a scene do.
Tensor rows_at(const Tensor& x, const Tensor& rows) {
  const auto n = rows.numel();
  const auto* row = rows.const_data_ptr<int64_t>();
  for (int64_t i = 1; i < n; ++i) {
    if (row[i] != row[0] + i) return x.index_select(0, rows);
  }
  return n ? x.narrow(0, row[0], n) : x.narrow(0, 0, 0);
}

}  // namespace

BiTGCFImpl::BiTGCFImpl(std::shared_ptr<const data::Schema> schema, BiTGCFOptions options_)
    : RankingModel(std::move(schema), options_.common, "BiTGCF"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.layers() >= 0, "BiTGCF: layers must be 0 or more, got ", options.layers());
  TORCH_CHECK_VALUE(options.own() >= 0 && options.own() <= 1, "BiTGCF: own must lie in [0, 1], got ", options.own());
  TORCH_CHECK_VALUE(options.dropout() >= 0 && options.dropout() < 1, "BiTGCF: dropout must lie in [0, 1), got ",
                    options.dropout());
  check_one_of("graph", options.graph(), {"symmetric", "mean"});
  check_one_of("exchange", options.exchange(), {"both", "users", "none"});
  check_one_of("combine", options.combine(), {"concat", "mean"});
  user = register_module("user", scene_tables(scenes(), users(), common.dim()));
  item = register_module("item", scene_tables(scenes(), items(), common.dim()));
  how_ = {options.layers(), options.graph() == "symmetric", options.dropout()};
}

BiTGCFImpl::Side BiTGCFImpl::side(const std::vector<Tensor>& degrees, int64_t first) const {
  Side out;
  out.degree = torch::stack(degrees).to(torch::kFloat32);
  out.size = out.degree.size(1);
  // Who has no rows anywhere is a node of every scene, without edges.
  const auto here = out.degree.gt(0) | out.degree.gt(0).any(0).logical_not().unsqueeze(0);
  out.rows = here.flatten().nonzero().squeeze(1);
  out.node = torch::full({here.numel()}, -1, torch::kInt64);
  out.node.index_put_({out.rows}, torch::arange(first, first + out.rows.numel()));
  return out;
}

void BiTGCFImpl::make_graph() {
  const auto known = history() ? history()->interactions() : nullptr;
  if (made_ && made_of_ == known) return;
  std::vector<Tensor> user_degrees, item_degrees;
  for (int64_t s = 0; s < scenes(); ++s) {
    user_degrees.push_back(known ? known->scene(s).user_offsets.diff() : torch::zeros({users()}, torch::kInt64));
    item_degrees.push_back(known ? known->scene(s).item_offsets.diff() : torch::zeros({items()}, torch::kInt64));
  }
  users_ = side(user_degrees, 0);
  items_ = side(item_degrees, users_.rows.numel());
  const auto total = users_.rows.numel() + items_.rows.numel();

  Entries edges, exchange;
  const bool mean = options.graph() == "mean";
  std::vector<int64_t> shared;
  const auto add_edges = [&](const Side& mine, const Side& other, bool by_user) {
    const auto* node = mine.node.const_data_ptr<int64_t>();
    const auto* neighbour = other.node.const_data_ptr<int64_t>();
    for (int64_t s = 0; s < scenes(); ++s) {
      const auto* degree = mine.degree.const_data_ptr<float>() + s * mine.size;
      const auto* other_degree = other.degree.const_data_ptr<float>() + s * other.size;
      const auto* offset =
          known ? (by_user ? known->scene(s).user_offsets : known->scene(s).item_offsets).const_data_ptr<int64_t>()
                : nullptr;
      const auto* code =
          known ? (by_user ? known->scene(s).items : known->scene(s).users).const_data_ptr<int32_t>() : nullptr;
      for (int64_t e = 0; e < mine.size; ++e) {
        const auto row = node[s * mine.size + e];
        if (row < 0) continue;
        const double d = degree[e];
        if (mean) edges.put(row, 1 / (d + 1));
        for (auto j = known ? offset[e] : 0; known && j < offset[e + 1]; ++j) {
          edges.put(neighbour[s * other.size + code[j]],
                    mean ? 1 / (d + 1) : 1 / std::sqrt(d * static_cast<double>(other_degree[code[j]])));
        }
        edges.end_row();
      }
    }
  };
  add_edges(users_, items_, true);
  add_edges(items_, users_, false);

  const auto add_shared = [&](const Side& mine) {
    const auto* node = mine.node.const_data_ptr<int64_t>();
    const auto* degree = mine.degree.const_data_ptr<float>();
    std::vector<int64_t> place(mine.node.numel(), -1);
    std::vector<std::pair<double, int64_t>> sums(mine.size);  // pairs and scenes of each
    for (int64_t at = 0; at < mine.node.numel(); ++at) {
      sums[at % mine.size].first += degree[at];
      sums[at % mine.size].second += degree[at] > 0;
    }
    for (int64_t at = 0; at < mine.node.numel(); ++at) {
      if (degree[at] == 0 || sums[at % mine.size].second < 2) continue;
      place[at] = static_cast<int64_t>(shared.size());
      shared.push_back(node[at]);
    }
    for (int64_t at = 0; at < mine.node.numel(); ++at) {
      if (place[at] < 0) continue;
      const auto [sum, count] = sums[at % mine.size];
      for (auto from = at % mine.size; from < mine.node.numel(); from += mine.size) {
        if (place[from] < 0) continue;
        const auto mixed = from == at ? options.own() : (1 - options.own()) / static_cast<double>(count - 1);
        exchange.put(place[from], 0.5 * (mixed + degree[from] / sum));
      }
      exchange.end_row();
    }
  };
  if (options.exchange() != "none") add_shared(users_);
  if (options.exchange() == "both") add_shared(items_);
  graph_ = {edges.matrix(total), torch::tensor(shared, torch::kInt64),
            exchange.matrix(static_cast<int64_t>(shared.size()))};
  made_ = true;
  made_of_ = known;
  layers_ = Tensor();
  finished_ = Tensor();
}

Tensor BiTGCFImpl::initial() {
  make_graph();
  return torch::cat({user->forward(users_.rows), item->forward(items_.rows)});
}

Tensor BiTGCFImpl::nodes(const Side& side, const Tensor& id, const Tensor& scene) const {
  return side.node.index_select(0, scene * side.size + id);
}

Tensor BiTGCFImpl::features(const Tensor& user_nodes, const Tensor& user_ids, const Tensor& item_nodes,
                            const Tensor& item_ids, const Take& take) const {
  std::vector<Tensor> wanted = {user_nodes.clamp_min(0), item_nodes.clamp_min(0)};
  struct Guests {
    Tensor at, weight;  // [m], and [m, S] of each scene
  };
  std::vector<Guests> guests;
  const auto invite = [&](const Side& side, const Tensor& at, const Tensor& ids, int64_t first) {
    const auto absent = at.eq(-1).nonzero().squeeze(1);
    if (absent.numel() == 0) return;
    const auto id = ids.index_select(0, absent);
    const auto degree = side.degree.index_select(1, id).t();  // [m, S]
    wanted.push_back(side.node.view({-1, side.size}).index_select(1, id).t().flatten().clamp_min(0));
    guests.push_back({absent + first, degree / degree.sum(1, true)});
  };
  invite(users_, user_nodes, user_ids, 0);
  invite(items_, item_nodes, item_ids, user_nodes.numel());
  auto out = take(torch::cat(wanted));
  const auto asked = user_nodes.numel() + item_nodes.numel();
  if (guests.empty()) return out;
  auto rest = out.slice(0, asked);
  out = out.slice(0, 0, asked);
  for (const auto& guest : guests) {
    const auto m = guest.at.numel();
    const auto theirs = rest.slice(0, 0, m * scenes()).view({m, scenes(), -1, common.dim()});  // [m, S, L + 1, D]
    out = out.index_copy(0, guest.at, (theirs * guest.weight.to(theirs.dtype()).view({m, scenes(), 1, 1})).sum(1));
    rest = rest.slice(0, m * scenes());
  }
  return out;
}

Tensor BiTGCFImpl::finished(const Tensor& features) const {
  const auto all = nn::unit_rows(features.flatten(0, 1), features.size(1)).view(features.sizes());  // [n, L + 1, D]
  return options.combine() == "concat" ? all.flatten(1) : all.mean(1);
}

Tensor BiTGCFImpl::pair_scores(const Tensor& users, const Tensor& items, const Tensor& scene) {
  const auto x = initial();
  const auto take = [&](const Tensor& rows) { return nn::propagate_to(graph_, how_, x, rows, is_training()); };
  const auto vectors =
      finished(features(nodes(users_, users, scene), users, nodes(items_, items, scene), items, take));  // [2 n, D']
  const auto of_user = vectors.slice(0, 0, users.numel()), of_item = vectors.slice(0, users.numel());
  if (nn::heard()) nn::tell_output(*this, torch::cat({of_user, of_item}, 1));
  return (of_user * of_item).sum(1);
}

RankingModel::Scored BiTGCFImpl::score_batch(const data::Batch& batch) {
  const auto rows = batch.size(), each = 1 + batch.negative.size(1);
  const auto items = torch::cat({batch.item.unsqueeze(1), batch.negative}, 1).flatten();  // [B (1 + N)]
  const auto x = initial();
  const auto take = [&](const Tensor& at) { return nn::propagate_to(graph_, how_, x, at, is_training()); };
  const auto all = features(nodes(users_, batch.user, batch.scene), batch.user,
                            nodes(items_, items, batch.scene.repeat_interleave(each)), items, take);
  const auto vectors = finished(all);
  const auto scores = nn::row_products(vectors.slice(0, 0, rows), vectors.slice(0, rows), each);  // [B, 1 + N]
  return {scores.select(1, 0), scores.slice(1, 1), embedding_penalty({all.select(1, 0)}, common.embedding_l2(), rows)};
}

void BiTGCFImpl::encode() {
  const torch::NoGradGuard no_grad;
  const auto x = initial();
  layers_ = torch::stack(nn::propagate_all(graph_, how_, x), 1);
  finished_ = finished(layers_);
  encoded_of_ = origin();
}

std::pair<Tensor, Tensor> BiTGCFImpl::encoded(int64_t scene, const Tensor& users, const Tensor& items) {
  if (!(encoded_of_ == origin())) encode();
  const auto in = [&](const Tensor& ids) { return torch::full_like(ids, scene); };
  const auto user_nodes = nodes(users_, users, in(users)), item_nodes = nodes(items_, items, in(items));
  if (user_nodes.lt(0).any().item<bool>() || item_nodes.lt(0).any().item<bool>()) {
    const auto take = [&](const Tensor& rows) { return layers_.index_select(0, rows); };
    const auto all = finished(features(user_nodes, users, item_nodes, items, take));
    return {all.slice(0, 0, users.numel()), all.slice(0, users.numel())};
  }
  return {finished_.index_select(0, user_nodes), rows_at(finished_, item_nodes)};
}

Tensor BiTGCFImpl::score_items(const Tensor& users, int64_t scene, const Tensor& items) {
  const torch::NoGradGuard no_grad;
  const auto [user, item] = encoded(scene, users, items);
  auto out = torch::empty({users.numel(), items.numel()}, user.options());
  nn::product(out, user, item.t(), /*add=*/false);
  return out;
}

Tensor BiTGCFImpl::vectors_of_users(int64_t scene, const Tensor& ids) {
  return encoded(scene, ids, torch::empty({0}, torch::kInt64)).first;
}

Tensor BiTGCFImpl::vectors_of_items(int64_t scene, const Tensor& ids) {
  return encoded(scene, torch::empty({0}, torch::kInt64), ids).second;
}

}  // namespace polyscene::models
