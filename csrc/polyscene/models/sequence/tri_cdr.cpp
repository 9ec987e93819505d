#include "polyscene/models/sequence/tri_cdr.h"

#include <limits>

#include "polyscene/models/ranking_model.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/unit_rows.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

constexpr int64_t kViews = 3;  // of all scenes, of the others, of the own one

// -log of the share of each row's own partner among all other rows of both sides, their mean.
Tensor told_apart(const Tensor& a, const Tensor& b, double temperature) {
  const auto rows = nn::unit_rows(torch::cat({a, b}));  // [2 n, D]
  const auto n = a.size(0);
  auto alike = nn::dense(rows, rows) / temperature;  // [2 n, 2 n]
  const auto own = (rows.narrow(0, 0, n) * rows.narrow(0, n, n)).sum(1) / temperature;
  alike = alike.masked_fill(torch::eye(2 * n, torch::kBool), -std::numeric_limits<double>::infinity());
  return alike.logsumexp(1).mean() - own.mean();
}

}  // namespace

TriCDRImpl::TriCDRImpl(std::shared_ptr<const data::Schema> schema_, TriCDROptions options_)
    : SequenceModel(std::move(schema_), options_.common, "TriCDR", {"bce", "ce", "bpr"}), options(std::move(options_)) {
  TORCH_CHECK_VALUE(common.scope() == "overall",
                    "TriCDR: scope must be 'overall', the model follows each scene by itself besides, got '",
                    common.scope(), "'");
  TORCH_CHECK_VALUE(options.layers() > 0, "TriCDR: layers must be positive, got ", options.layers());
  TORCH_CHECK_VALUE(options.heads() > 0 && common.dim() % options.heads() == 0, "TriCDR: heads must divide dim (",
                    common.dim(), "), got ", options.heads());
  TORCH_CHECK_VALUE(options.scale() > 0, "TriCDR: scale must be positive, got ", options.scale());
  TORCH_CHECK_VALUE(options.contrast() >= 0, "TriCDR: contrast must be 0 or more, got ", options.contrast());
  const auto& shares = options.contrast_shares();
  double total = 0;
  for (const auto share : shares) total += share >= 0 ? share : -std::numeric_limits<double>::infinity();
  TORCH_CHECK_VALUE(shares.size() == kViews && total > 0,
                    "TriCDR: contrast_shares must be three numbers of 0 or more, not all 0, got ", shares);
  TORCH_CHECK_VALUE(options.temperature() > 0, "TriCDR: temperature must be positive, got ", options.temperature());
  TORCH_CHECK_VALUE(options.triplet() >= 0, "TriCDR: triplet must be 0 or more, got ", options.triplet());
  TORCH_CHECK_VALUE(options.margin() >= 0, "TriCDR: margin must be 0 or more, got ", options.margin());
  TORCH_CHECK_VALUE(options.warm_up() >= 0, "TriCDR: warm_up must be 0 or more, got ", options.warm_up());
  TORCH_CHECK_VALUE(options.positions() == "newest" || options.positions() == "oldest",
                    "TriCDR: positions must be 'newest' or 'oldest', got '", options.positions(), "'");
  const auto dim = common.dim();
  mixed = register_module("mixed", xavier_table(item->weight.size(0), dim));
  encoders = register_module("encoders", SceneEncoders(1 + schema().num_scenes(), dim,
                                                       SceneEncodersOptions()
                                                           .max_length(common.max_length())
                                                           .layers(options.layers())
                                                           .heads(options.heads())
                                                           .newest(options.positions() == "newest")
                                                           .dropout(common.dropout())));
  attention = register_module("attention", ViewAttention(dim, options.attention_hidden()));
  combine = register_module("combine", torch::nn::Linear(kViews * dim, dim));
  output = register_module("output", torch::nn::Linear(dim, dim));
  if (options.contrast() > 0 || options.triplet() > 0) {
    project_in = register_module("project_in", torch::nn::ModuleList());
    project_out = register_module("project_out", torch::nn::ModuleList());
    for (int64_t v = 0; v < kViews; ++v) {
      project_in->push_back(torch::nn::Linear(dim, dim));
      project_out->push_back(torch::nn::Linear(dim, dim));
    }
  }
  joined = register_buffer("joined", torch::full({}, options.warm_up() == 0 ? 1 : 0, torch::kInt64));
}

std::vector<Phase> TriCDRImpl::phases() const {
  Phase views, all;
  views.name = "views";
  views.epochs = options.warm_up();
  views.patience = 0;
  return options.warm_up() > 0 ? std::vector<Phase>{views, all} : std::vector<Phase>{all};
}

void TriCDRImpl::begin_phase(const Phase& phase) {
  const torch::NoGradGuard no_grad;
  joined.fill_(phase.name == "views" ? 0 : 1);
}

Tensor TriCDRImpl::known() {
  const auto now = history() && history()->keeps_events() ? history() : nullptr;
  if (known_.defined() && known_of_ == now) return known_;
  const auto items = item->weight.size(0);
  known_ = torch::zeros({schema().num_scenes(), items}, torch::kBool);
  for (int64_t s = 0; s < schema().num_scenes(); ++s) known_[s].index_fill_(0, scene_items(*this, s), true);
  known_.select(1, data::kMissing).fill_(true);  // the mask
  known_ = known_.flatten();
  known_of_ = now;
  return known_;
}

TriCDRImpl::Encoded TriCDRImpl::encode_events(const data::Events& events, const Tensor& scene) {
  const auto count = events.item.numel();
  const auto rows = events.item.to(torch::kInt64);
  Encoded out;
  out.views =
      scene_views(events, known().index_select(0, events.scene * item->weight.size(0) + rows), schema().num_scenes());
  nn::FieldRows table;
  table.add("item", mixed->weight.size(0));
  const auto v = torch::cat({nn::lookup_flat(mixed->weight, rows.unsqueeze(1), table, {}, sparse()),
                             vectors(rows.index_select(0, out.views.event))});
  nn::SceneGroups groups;
  for (const auto each : out.views.groups.offsets) groups.offsets.push_back(count + each);
  const auto h = encoders->forward(v, {torch::cat({events.offsets, out.views.offsets.slice(0, 1) + count}), groups});
  out.all = h.narrow(0, 0, count);
  out.own = torch::cat({h.slice(0, count), torch::zeros({1, common.dim()}, h.options())});
  const auto newest = newest_of(events, out.views, scene);
  const auto none = torch::full_like(newest, out.own.size(0) - 1);
  out.newest =
      count == 0 ? none : torch::where(newest.ge(0), out.views.place.index_select(0, newest.clamp_min(0)), none);
  return out;
}

std::pair<Tensor, Tensor> TriCDRImpl::views_at(const data::Events& events, const Tensor& scene, const Encoded& encoded,
                                               const Tensor& at) {
  const auto n = at.numel(), count = events.item.numel();
  const auto first = events.offsets.slice(0, 0, -1).repeat_interleave(events.offsets.diff());  // of each event's list
  const auto *begin = first.const_data_ptr<int64_t>(), *step = at.const_data_ptr<int64_t>(),
             *asked = scene.const_data_ptr<int64_t>(), *where = events.scene.const_data_ptr<int64_t>(),
             *place = encoded.views.place.const_data_ptr<int64_t>();
  auto offsets = torch::zeros({kViews * n + 1}, torch::kInt64);
  auto* end = offsets.data_ptr<int64_t>() + 1;
  std::vector<int64_t> pairs;
  for (int64_t k = 0; k < n; ++k) {
    const auto t = step[k];
    for (auto j = begin[t]; j <= t; ++j) pairs.push_back(j);
    *end++ = static_cast<int64_t>(pairs.size());
    for (const bool own : {false, true}) {
      for (auto j = begin[t]; j <= t; ++j) {
        if (place[j] >= 0 && (where[j] == asked[t]) == own) pairs.push_back(count + place[j]);
      }
      *end++ = static_cast<int64_t>(pairs.size());
    }
  }
  const auto keys = torch::cat({encoded.all, encoded.own});
  const auto query = rows_from(encoded.own, encoded.newest.index_select(0, at));
  return {attention->forward(keys, query, torch::tensor(pairs, torch::kInt64), offsets, kViews),
          offsets.diff().view({n, kViews})};
}

Tensor TriCDRImpl::scaled(const Tensor& x) const { return nn::unit_rows(x) * options.scale(); }

Tensor TriCDRImpl::combined(const Tensor& views) {
  return scaled(nn::dense(torch::leaky_relu(nn::dense(views.flatten(1), *combine)), *output));
}

Tensor TriCDRImpl::output_vectors(const Tensor& rows) const { return nn::unit_rows(vectors(rows)); }

Tensor TriCDRImpl::contrasted(const Tensor& views) {
  std::vector<Tensor> x;
  for (int64_t v = 0; v < kViews; ++v) {
    const auto &in = project_in->at<torch::nn::LinearImpl>(v), &out = project_out->at<torch::nn::LinearImpl>(v);
    x.push_back(nn::dense(nn::dense(views.select(1, v), in).relu(), out));
  }
  const auto& share = options.contrast_shares();
  const auto temperature = options.temperature(), total = share[0] + share[1] + share[2];
  auto sum = (x[0].sum() + x[1].sum() + x[2].sum()) * 0;
  if (options.contrast() > 0) {
    sum = sum + (options.contrast() / total) *
                    (share[0] * told_apart(x[0], x[1], temperature) + share[1] * told_apart(x[0], x[2], temperature) +
                     share[2] * told_apart(x[1], x[2], temperature));
  }
  if (options.triplet() > 0) {
    const auto near = torch::pairwise_distance(x[1], x[0]), far = torch::pairwise_distance(x[1], x[2]);
    sum = sum + options.triplet() * (near - far + options.margin()).relu().mean();
  }
  return sum;
}

Tensor TriCDRImpl::loss(const data::Batch& batch) {
  check(batch);
  const auto [events, target] = steps_of(batch);
  check_negatives(batch.next_negative);
  const auto scene = torch::where(target.ge(0), batch.next_scene.index_select(0, target.clamp_min(0)), -1);
  const auto encoded = encode_events(events, scene);
  const auto steps = target.ge(0).nonzero().squeeze(1);
  auto classes = common.loss() == "ce" ? classes_of(scene.index_select(0, steps)) : Classes();
  look_up(classes);
  const auto lost = [&, &places = target](const Tensor& x, const Tensor& at) {
    const auto place = places.index_select(0, at);
    const auto next = batch.next_item.index_select(0, place);
    if (common.loss() == "ce") return cross_entropy(x, next, scene.index_select(0, at), classes);
    const auto among = torch::cat({next.unsqueeze(1), batch.next_negative.index_select(0, place)}, 1).flatten();
    return compared(x, output_vectors(among), {});
  };
  if (!joint()) {
    const auto own = encoded.newest.index_select(0, steps);
    const auto some = own.lt(encoded.own.size(0) - 1).nonzero().squeeze(1);
    return lost(scaled(rows_from(encoded.all, steps)), steps) +
           lost(scaled(rows_from(encoded.own, own.index_select(0, some))), steps.index_select(0, some));
  }
  const auto [views, lengths] = views_at(events, scene, encoded, steps);
  const auto predicted = lost(combined(views), steps);
  if (options.contrast() == 0 && options.triplet() == 0) return predicted;
  auto newest = torch::zeros({events.item.numel() + 1}, torch::kBool);
  newest.index_fill_(0, events.offsets.slice(0, 1), true);
  const auto whole = newest.slice(0, 1).index_select(0, steps) & lengths.gt(0).all(1);
  const auto windows = whole.nonzero().squeeze(1);
  if (windows.numel() == 0) return predicted;
  return predicted + contrasted(views.index_select(0, windows));
}

Tensor TriCDRImpl::states_before(const data::Events& events, int64_t scene) {
  const auto mine = kept(events, nullptr);
  const auto some = mine.offsets.diff().gt(0).nonzero().squeeze(1);
  const auto last = mine.offsets.slice(0, 1).index_select(0, some) - 1;
  const auto asked = torch::full({mine.item.numel()}, -1, torch::kInt64).index_fill_(0, last, scene);
  const auto encoded = encode_events(mine, asked);
  const auto own = rows_from(encoded.own, encoded.newest.index_select(0, last));
  const auto x = joint() ? combined(views_at(mine, asked, encoded, last).first)
                         : scaled(encoded.all.index_select(0, last)) + scaled(own);
  return torch::zeros({mine.offsets.numel() - 1, common.dim()}, x.options()).index_copy(0, some, x);
}

}  // namespace polyscene::models
