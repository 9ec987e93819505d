#include "polyscene/models/graphs.h"

#include "catch.h"
#include "tiny.h"

using namespace polyscene;
using models::bipartite;
using models::EdgeWeight;

namespace {

/// Scene 0 and the pooled pairs of the rows that train: 0 to 5 of the eight.
data::Interactions trained() {
  const auto schema = tiny_schema("ranking");
  const auto batch = tiny_batch(schema);
  const auto of = [](const torch::Tensor& x) { return x.slice(0, 0, 6); };
  return {*schema, of(batch.user), of(batch.item), of(batch.scene)};
}

torch::Tensor edges_by_hand(const data::Interactions::Scene& pairs, int64_t users, int64_t items) {
  auto out = torch::zeros({users + items, users + items});
  for (int64_t u = 0; u < users; ++u) {
    for (int64_t i = 0; i < items; ++i) {
      if (pairs.contains(u, i)) out[u][users + i] = out[users + i][u] = 1;
    }
  }
  return out;
}

}  // namespace

TEST_CASE("bipartite: weights of edges, by hand") {
  const auto known = trained();
  const bool loops = GENERATE(false, true), pooled = GENERATE(false, true);
  const auto pairs = pooled ? known.pooled() : known.scene(0);
  const auto users = known.users(), items = known.items();
  CHECK(users == 4);
  CHECK(items == 5);
  auto edge = edges_by_hand(pairs, users, items);
  CHECK(edge.sum().item<double>() == 2 * (pooled ? 6 : 5));
  if (loops) edge = edge + torch::diag(edge.sum(1).gt(0).to(torch::kFloat32));
  const auto degree = edge.sum(1), root = degree.sqrt().clamp_min(1);
  const auto symmetric = bipartite(pairs, EdgeWeight::kSymmetric, loops)->to_dense();
  const auto mean = bipartite(pairs, EdgeWeight::kMean, loops)->to_dense();
  CHECK_THAT(symmetric, IsNear(edge / root.unsqueeze(1) / root.unsqueeze(0), 1e-6));
  CHECK_THAT(mean, IsNear(edge / degree.clamp_min(1).unsqueeze(1), 1e-6));

  CHECK(torch::equal(symmetric, symmetric.t()));
  const auto sums = mean.sum(1);
  CHECK((sums.eq(0) | (sums - 1).abs().lt(1e-6)).all().item<bool>());
  CHECK(torch::equal(sums.gt(0.5), degree.gt(0)));
  for (const auto& graph : {symmetric, mean}) {
    if (loops) {
      CHECK(torch::equal(graph.diagonal().gt(0), degree.gt(0)));
    } else {
      CHECK(graph.diagonal().eq(0).all().item<bool>());
    }
    // Unknown and missing ids have no edges.
    for (const auto node : {0, 1, 4, 5}) {
      CHECK(graph[node].eq(0).all().item<bool>());
      CHECK(graph.select(1, node).eq(0).all().item<bool>());
    }
  }
}

TEST_CASE("bipartite: pairs that do not train have no edge") {
  // Rows 6 and 7 repeat (u0, i0) and (u1, i2) in scene 1, where they do not train: only (u1, i1) does.
  const auto known = trained();
  const auto graph = bipartite(known.scene(1), EdgeWeight::kSymmetric)->to_dense();
  CHECK(graph.gt(0).sum().item<int64_t>() == 2);
  const auto batch = tiny_batch(tiny_schema("ranking"));
  const auto user = batch.user[5].item<int64_t>(), item = batch.item[5].item<int64_t>();
  CHECK(graph[user][known.users() + item].item<float>() == 1);
  CHECK(graph[known.users() + item][user].item<float>() == 1);
}

TEST_CASE("bipartite: a pair of two rows or two scenes is one edge") {
  const auto schema = tiny_schema("ranking");
  const auto twice = torch::tensor({2, 2, 2, 2}), item = torch::tensor({3, 3, 3, 4});
  const data::Interactions known(*schema, twice, item, torch::tensor({0, 0, 1, 1}));
  const auto graph = bipartite(known.pooled(), EdgeWeight::kMean);
  CHECK(graph->entries() == 4);
  CHECK_THAT(graph->to_dense()[2], IsNear(torch::tensor({0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.5f, 0.5f}), 1e-7));
}

TEST_CASE("bipartite: without pairs") {
  const auto schema = tiny_schema("ranking");
  const auto none = torch::empty({0}, torch::kInt64);
  const data::Interactions known(*schema, none, none, none);
  const auto graph = bipartite(known.scene(0), EdgeWeight::kSymmetric, GENERATE(false, true));
  CHECK(graph->entries() == 0);
  CHECK(graph->times(torch::ones({9, 2})).eq(0).all().item<bool>());
}
