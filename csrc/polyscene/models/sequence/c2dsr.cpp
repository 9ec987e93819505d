#include "polyscene/models/sequence/c2dsr.h"

#include <cmath>

#include "polyscene/core/random.h"
#include "polyscene/models/graphs.h"
#include "polyscene/models/ranking_model.h"
#include "polyscene/nn/drop_places.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/losses.h"
#include "polyscene/nn/row_products.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

Tensor means_of(const Tensor& x, const Tensor& offsets) {
  return sums_of_lists(x, offsets) / offsets.diff().clamp_min(1).to(x.scalar_type()).unsqueeze(1);
}

// Where the last rows of the lists lie that have some, and which lists these are.
std::pair<Tensor, Tensor> ends_of(const Tensor& offsets) {
  const auto some = offsets.diff().gt(0).nonzero().squeeze(1);
  return {offsets.slice(0, 1).index_select(0, some) - 1, some};
}

}  // namespace

C2DSRImpl::C2DSRImpl(std::shared_ptr<const data::Schema> schema_, C2DSROptions options_)
    : SequenceModel(std::move(schema_), options_.common, "C2DSR", {"ce"}), options(std::move(options_)) {
  TORCH_CHECK_VALUE(common.scope() == "overall",
                    "C2DSR: scope must be 'overall', the model follows each scene by itself besides, got '",
                    common.scope(), "'");
  TORCH_CHECK_VALUE(options.layers() > 0, "C2DSR: layers must be positive, got ", options.layers());
  TORCH_CHECK_VALUE(options.heads() > 0 && common.dim() % options.heads() == 0, "C2DSR: heads must divide dim (",
                    common.dim(), "), got ", options.heads());
  TORCH_CHECK_VALUE(options.graph_layers() >= 0, "C2DSR: graph_layers must be 0 or more, got ", options.graph_layers());
  TORCH_CHECK_VALUE(options.contrast() >= 0 && options.contrast() < 1, "C2DSR: contrast must lie in [0, 1), got ",
                    options.contrast());
  TORCH_CHECK_VALUE(options.joined_at() == "newest" || options.joined_at() == "own",
                    "C2DSR: joined_at must be 'newest' or 'own', got '", options.joined_at(), "'");
  TORCH_CHECK_VALUE(options.positions() == "newest" || options.positions() == "oldest",
                    "C2DSR: positions must be 'newest' or 'oldest', got '", options.positions(), "'");
  const auto dim = common.dim(), items = item->weight.size(0), scenes = schema().num_scenes();
  const auto bound = 1 / std::sqrt(static_cast<double>(dim));
  bias = register_module("bias",
                         torch::nn::Embedding(torch::nn::EmbeddingOptions(items, 1)._weight(torch::zeros({items, 1}))));
  input = register_module("input", scene_tables(1 + scenes, items, dim));
  if (options.graph_layers() > 0) {
    graph_bias = register_parameter("graph_bias",
                                    torch::empty({options.graph_layers(), 1 + scenes, dim}).uniform_(-bound, bound));
  }
  encoders = register_module("encoders", SceneEncoders(1 + scenes, dim,
                                                       SceneEncodersOptions()
                                                           .max_length(common.max_length())
                                                           .layers(options.layers())
                                                           .heads(options.heads())
                                                           .newest(options.positions() == "newest")
                                                           .dropout(common.dropout())));
  if (options.contrast() > 0) {
    const auto spread = std::sqrt(6.0 / static_cast<double>(dim + dim * dim));  // Glorot's, of a bilinear layer
    critic = register_parameter("critic", torch::empty({scenes, 1, dim, dim}).uniform_(-spread, spread));
    critic_bias = register_parameter("critic_bias", torch::zeros({scenes}));
  }
}

std::vector<std::string> C2DSRImpl::table_parameters() const { return {"item.weight", "bias.weight", "input.weight"}; }

void C2DSRImpl::make_graph() {
  const auto known = history() && history()->keeps_events() ? history() : nullptr;
  if (made_ && made_of_ == known) return;
  const auto items = item->weight.size(0), scenes = schema().num_scenes();
  // All items have a node of all scenes; in a scene those that training met there, and the mask.
  std::vector<Tensor> rows = {torch::arange(items)};
  for (int64_t s = 0; s < scenes; ++s) {
    rows.push_back(torch::cat({torch::full({1}, data::kMissing), scene_items(*this, s)}) + (1 + s) * items);
  }
  rows_ = torch::cat(rows);
  node_ = torch::full({(1 + scenes) * items}, -1, torch::kInt64);
  node_.index_copy_(0, rows_, torch::arange(rows_.numel()));
  const auto total = rows_.numel();
  graph_ = known ? followers(*known, node_.slice(0, 0, items), node_.slice(0, items), total)
                 : std::make_shared<nn::SparseMatrix>(torch::zeros({total + 1}, torch::kInt64),
                                                      torch::empty({0}, torch::kInt32), torch::empty({0}), total);
  made_ = true;
  made_of_ = known;
  kept_ = Tensor();
}

Tensor C2DSRImpl::nodes() {
  nn::FieldRows table;
  table.add("item", input->weight.size(0));
  const auto x = nn::lookup_flat(input->weight, rows_.unsqueeze(1), table, {}, sparse());  // [P, D]
  const auto encoder = rows_.div(item->weight.size(0), "floor");                           // [P]
  auto layer = x, sum = x;
  for (int64_t n = 0; n < options.graph_layers(); ++n) {
    layer = nn::sparse_product(graph_, nn::drop(layer, common.dropout(), is_training())) +
            rows_from(graph_bias[n], encoder);
    sum = sum + layer;
  }
  return x + sum / static_cast<double>(1 + options.graph_layers());
}

Tensor C2DSRImpl::inputs() {
  make_graph();
  if (is_training() || torch::GradMode::is_enabled()) return nodes();
  size_t now = 1;
  for (const auto& each : {input->weight, graph_bias}) {
    if (!each.defined()) continue;
    for (const auto part : {each.is_inference() ? 0 : static_cast<size_t>(each._version()),
                            reinterpret_cast<size_t>(each.storage().unsafeGetStorageImpl())}) {
      now = now * 1'000'003 + part;
    }
  }
  if (!kept_.defined() || kept_of_ != now) {
    kept_ = nodes();
    kept_of_ = now;
  }
  return kept_;
}

Tensor C2DSRImpl::nodes_of(const data::Events& events) const {
  return node_.index_select(0, (1 + events.scene) * item->weight.size(0) + events.item);
}

C2DSRImpl::Changed C2DSRImpl::changed(const data::Events& events, const SceneViews& views) const {
  const auto lists = events.offsets.numel() - 1, scenes = schema().num_scenes();
  const auto lengths = events.offsets.diff();
  const auto owner = torch::arange(lists).repeat_interleave(lengths);
  const auto here = torch::bincount(events.scene * lists + owner, {}, scenes * lists).view({scenes, lists});
  const auto pairs = (views.offsets.diff().view({scenes, lists}).gt(0) & here.lt(lengths)).nonzero();  // [K, 2]
  Changed out;
  out.scene = pairs.select(1, 0).contiguous();
  out.list = pairs.select(1, 1).contiguous();
  const auto places = data::Ragged{torch::arange(events.item.numel()), events.offsets}.take(out.list);
  out.offsets = places.offsets;
  out.item = events.item.index_select(0, places.values).to(torch::kInt64);
  const auto replaced = out.scene.repeat_interleave(out.offsets.diff());
  const auto own = events.scene.index_select(0, places.values).eq(replaced);
  out.other = own.logical_not().nonzero().squeeze(1);
  out.original = places.values.index_select(0, out.other);
  const auto before = torch::constant_pad_nd(own.logical_not().to(torch::kInt64).cumsum(0), {1, 0});
  out.other_offsets = before.index_select(0, out.offsets);

  std::vector<Tensor> among;
  for (int64_t s = 0; s < scenes; ++s) among.push_back(scene_items(*this, s));
  const RandomStream stream(static_cast<uint64_t>(nn::draw_drop_seed()), "replaced");
  const auto* of = replaced.const_data_ptr<int64_t>();
  const auto* mine = own.const_data_ptr<bool>();
  auto* to = out.item.data_ptr<int64_t>();
  for (int64_t i = 0; i < out.item.numel(); ++i) {
    const auto& drawn = among[of[i]];
    if (mine[i] && drawn.numel() > 0) to[i] = drawn.const_data_ptr<int64_t>()[stream.below(drawn.numel(), i)];
  }
  return out;
}

Tensor C2DSRImpl::contrasted(const Changed& changed, const SceneViews& views, const Tensor& all, const Tensor& instead,
                             const Tensor& own) const {
  const auto pairs = changed.list.numel(), scenes = schema().num_scenes();
  if (pairs == 0) return (critic.sum() + critic_bias.sum()) * 0;
  const auto lists = (views.offsets.numel() - 1) / scenes;
  const auto of_scene = rows_from(means_of(own, views.offsets), changed.scene * lists + changed.list);  // [K, D]
  const auto others = means_of(rows_from(all, changed.original), changed.other_offsets);
  const auto false_others = means_of(rows_from(instead, changed.other), changed.other_offsets);
  const auto count = torch::bincount(changed.scene, {}, scenes);  // [S]
  nn::SceneGroups groups;
  for (int64_t s = 0; s < scenes; ++s) groups.offsets.push_back(groups.rows() + count[s].item<int64_t>());
  const auto mapped = nn::scene_linear(of_scene.unsqueeze(1), critic, {}, groups).squeeze(1);
  const auto both = torch::stack({others, false_others}, 1).flatten(0, 1);  // [2 K, D]
  const auto scores = nn::row_products(mapped, both, 2) + rows_from(critic_bias.unsqueeze(1), changed.scene);
  const auto right = torch::tensor({1.0, 0.0}, scores.options()).expand_as(scores);
  const auto weight = count.to(scores.scalar_type()).reciprocal().index_select(0, changed.scene);
  return (nn::bce_with_logits(scores, right).sum(1) * weight).sum();
}

Tensor C2DSRImpl::loss(const data::Batch& batch) {
  check(batch);
  const auto [events, target] = steps_of(batch);
  const auto count = events.item.numel();
  const auto z = inputs();
  const auto own_node = nodes_of(events);
  const auto views = scene_views(events, own_node.ge(0), schema().num_scenes());
  const bool contrasts = options.contrast() > 0;
  const auto change = contrasts ? changed(events, views) : Changed();

  // The lists of all scenes, the changed ones and those of each scene go through the encoders at once.
  std::vector<Tensor> node = {events.item.to(torch::kInt64)}, offsets = {events.offsets};
  const auto shared = count + (contrasts ? change.item.numel() : 0);
  if (contrasts) {
    node.push_back(change.item);
    offsets.push_back(change.offsets.slice(0, 1) + count);
  }
  node.push_back(own_node.index_select(0, views.event));
  offsets.push_back(views.offsets.slice(0, 1) + shared);
  nn::SceneGroups groups;
  for (const auto each : views.groups.offsets) groups.offsets.push_back(shared + each);
  const auto h = encoders->forward(rows_from(z, torch::cat(node)), {torch::cat(offsets), groups});
  const auto all = h.narrow(0, 0, count), own = h.slice(0, shared);

  const auto asked = torch::where(target.ge(0), batch.next_scene.index_select(0, target.clamp_min(0)), -1);
  const auto newest = newest_of(events, views, asked);
  const auto steps = target.ge(0).nonzero().squeeze(1), joined = newest.ge(0).nonzero().squeeze(1);
  const auto own_event = newest.index_select(0, joined);
  const auto sum = rows_from(all, options.joined_at() == "own" ? own_event : joined) +
                   rows_from(own, views.place.index_select(0, own_event));  // [n, D]
  const auto place_of = [&](const Tensor& steps) { return target.index_select(0, steps); };
  auto classes = classes_of(batch.next_scene.index_select(0, place_of(steps)));
  look_up(classes);
  const auto lost = [&](const Tensor& states, const Tensor& places) {
    return cross_entropy(states, batch.next_item.index_select(0, places), batch.next_scene.index_select(0, places),
                         classes);
  };
  const auto predicted = lost(rows_from(all, steps), place_of(steps)) + lost(sum, place_of(joined));
  if (!contrasts) return predicted;
  const auto contrast = contrasted(change, views, all, h.narrow(0, count, shared - count), own);
  return (1 - options.contrast()) * predicted + options.contrast() * contrast;
}

Tensor C2DSRImpl::states_before(const data::Events& events, int64_t scene) {
  const auto mine = kept(events, nullptr);
  const auto z = inputs();
  const auto there = mine.of_scene(scene);
  const auto node = nodes_of(there);
  const auto views = scene_views(there, node.ge(0), schema().num_scenes());
  const auto count = mine.item.numel(), lists = mine.offsets.numel() - 1;
  nn::SceneGroups groups;
  for (const auto each : views.groups.offsets) groups.offsets.push_back(count + each);
  const auto h =
      encoders->forward(rows_from(z, torch::cat({mine.item.to(torch::kInt64), node.index_select(0, views.event)})),
                        {torch::cat({mine.offsets, views.offsets.slice(0, 1) + count}), groups});
  const auto placed = [&](const Tensor& offsets, int64_t first) {
    const auto [last, some] = ends_of(offsets);
    return torch::zeros({lists, common.dim()}, h.options()).index_copy(0, some, rows_from(h, last + first));
  };
  return placed(mine.offsets, 0) + placed(views.offsets.slice(0, scene * lists, (scene + 1) * lists + 1), count);
}

}  // namespace polyscene::models
