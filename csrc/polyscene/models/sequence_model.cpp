#include "polyscene/models/sequence_model.h"

#include <algorithm>
#include <limits>

#include "polyscene/core/errors.h"
#include "polyscene/models/multi/specialist.h"
#include "polyscene/models/ranking_model.h"
#include "polyscene/models/scene_scores.h"
#include "polyscene/models/wrapped.h"
#include "polyscene/nn/losses.h"
#include "polyscene/nn/masks.h"
#include "polyscene/nn/row_products.h"
#include "polyscene/nn/scene_linear.h"
#include "polyscene/nn/softmax_loss.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

void check_past(const SequenceModel& model, const data::Batch& batch) {
  model.check(batch);
  TORCH_CHECK_VALUE(batch.history.defined(), model.name(),
                    ": the batch carries no history; table.batch(rows, history=", model.common.max_length(), ") does");
}

}  // namespace

SequenceModel::SequenceModel(std::shared_ptr<const data::Schema> schema, SequenceOptions common_, const char* owner,
                             const std::vector<std::string>& losses)
    : Model(std::move(schema)), common(std::move(common_)) {
  const auto& known = this->schema();
  TORCH_CHECK_VALUE(known.user >= 0 && known.item >= 0, owner,
                    ": the data must have a user and an item column, it has no ", known.user < 0 ? "user" : "item",
                    "; name it when the table is read");
  TORCH_CHECK_VALUE(common.dim() > 0, owner, ": dim must be positive, got ", common.dim());
  TORCH_CHECK_VALUE(common.max_length() > 0, owner, ": max_length must be positive, got ", common.max_length());
  TORCH_CHECK_VALUE(common.dropout() >= 0 && common.dropout() < 1, owner, ": dropout must lie in [0, 1), got ",
                    common.dropout());
  TORCH_CHECK_VALUE(common.negatives() > 0, owner, ": negatives must be positive, got ", common.negatives());
  const std::vector<std::string> samplers = {"uniform", "popularity", "in_batch"}, scopes = {"overall", "scene"};
  const auto one_of = [&](const char* option, const std::string& value, const std::vector<std::string>& all) {
    TORCH_CHECK_VALUE(std::find(all.begin(), all.end(), value) != all.end(), owner, ": ", option, " must be one of ",
                      join(all), ", got '", value, "'", suggestion(value, all));
  };
  one_of("loss", common.loss(), losses);
  one_of("sampler", common.sampler(), samplers);
  one_of("scope", common.scope(), scopes);
  const auto items = known.categorical[known.item].rows();
  item = register_module("item", xavier_table(items, common.dim()));
  fields_.add("item", items);
}

std::vector<std::string> SequenceModel::table_parameters() const {
  if (bias) return {"item.weight", "bias.weight"};
  return {"item.weight"};
}

data::Sampling SequenceModel::sampling() const {
  if (common.loss() == "ce") return {};
  return {common.negatives(), common.sampler()};
}

Tensor SequenceModel::vectors(const Tensor& rows) const {
  return nn::lookup_flat(item->weight, rows.unsqueeze(1), fields_, {}, sparse_);
}

const Tensor& SequenceModel::places(int64_t scene) const {
  const auto known = history() && history()->keeps_events() ? history()->interactions() : nullptr;
  if (places_.empty() || placed_ != known) {
    placed_ = known;
    places_.clear();
    for (int64_t s = 0; s < schema().num_scenes(); ++s) {
      const auto mine = scene_items(*this, s);
      places_.push_back(torch::full({fields_.total()}, -1, torch::kInt64));
      places_.back().index_copy_(0, mine, torch::arange(mine.numel()));
    }
  }
  return places_.at(scene);
}

data::Events SequenceModel::lists_of(const data::Events& events, Tensor* beside) const {
  if (common.scope() == "overall") return events;
  const auto rows = events.offsets.numel() - 1, scenes = schema().num_scenes();
  const auto group = torch::arange(rows).repeat_interleave(events.offsets.diff()) * scenes + events.scene;
  const auto order = group.argsort(/*stable=*/true, 0, /*descending=*/false);
  if (beside) *beside = beside->index_select(0, order);
  auto each = events;
  each.offsets = torch::arange(events.item.numel() + 1);
  auto out = each.take(order);
  out.offsets = torch::constant_pad_nd(torch::bincount(group, {}, rows * scenes).cumsum(0), {1, 0});
  return out;
}

data::Events SequenceModel::kept(const data::Events& events, Tensor* beside) const {
  auto out = events;
  const auto keep = [&](const Tensor& wanted) {
    if (wanted.all().item<bool>()) return;
    out = out.keep(wanted);
    if (beside) *beside = beside->masked_select(wanted);
  };
  keep(out.item.ne(data::kUnknown));
  const auto left = out.offsets.slice(0, 1).repeat_interleave(out.offsets.diff());
  keep((left - torch::arange(out.item.numel())).le(common.max_length()));
  return out;
}

data::Events SequenceModel::followed(const data::Events& events, int64_t scene) const {
  return kept(common.scope() == "scene" ? events.of_scene(scene) : events, nullptr);
}

SequenceModel::Steps SequenceModel::steps_of(const data::Batch& batch) const {
  TORCH_CHECK_VALUE(batch.next_item.defined(), name(),
                    ": the batch has no history with what followed; table.batch(rows) of task 'sequence' carries it");
  const auto& events = batch.history;
  const auto count = events.item.numel(), rows = batch.size();
  auto target = torch::arange(count);
  if (common.scope() == "overall") {
    target.masked_fill_(batch.next_item.lt(data::kFirstId), -1);
    auto mine = kept(events, &target);
    return {std::move(mine), target};
  }
  const auto scenes = schema().num_scenes();
  const auto *at = events.offsets.const_data_ptr<int64_t>(), *scene = events.scene.const_data_ptr<int64_t>(),
             *next = batch.next_item.const_data_ptr<int64_t>(), *own = batch.scene.const_data_ptr<int64_t>();
  auto* to = target.data_ptr<int64_t>();
  std::vector<int64_t> later(scenes);
  auto followed = torch::ones({count}, torch::kBool);  // by an event of the scene: the others learn nothing
  for (int64_t b = 0; b < rows; ++b) {
    std::fill(later.begin(), later.end(), -1);
    later[own[b]] = at[b + 1] - 1;
    for (auto j = at[b + 1] - 1; j >= at[b]; --j) {
      to[j] = later[scene[j]];
      followed.data_ptr<bool>()[j] = to[j] >= 0;
      if (to[j] >= 0 && next[to[j]] < data::kFirstId) to[j] = -1;
      later[scene[j]] = j - 1;
    }
  }
  target = target.masked_select(followed);
  auto mine = kept(lists_of(events.keep(followed), &target), &target);
  return {std::move(mine), target};
}

Tensor SequenceModel::loss_of(const Tensor& positive, const Tensor& negative) const {
  const auto& loss = common.loss();
  if (loss == "bpr") return nn::bpr(positive.unsqueeze(1), negative).mean(1);
  if (loss == "top1") return nn::top1(positive, negative);
  if (loss == "bpr_max") return nn::bpr_max(positive, negative, regularisation());
  return nn::bce_with_logits(positive, torch::ones_like(positive)) +
         nn::bce_with_logits(negative, torch::zeros_like(negative)).mean(1);
}

void SequenceModel::check_negatives(const Tensor& negative) const {
  TORCH_CHECK_VALUE(common.loss() == "ce" || negative.defined(), name(),
                    ": the batch has no negatives; the trainer draws them, table.batch(rows, negatives=",
                    common.negatives(), ") does so by hand");
}

Tensor SequenceModel::learn(const data::Events& events, const Tensor& at, const Tensor& next, const Tensor& scene,
                            const Tensor& negative) {
  const bool compares = common.loss() != "ce";
  check_negatives(negative);
  const auto count = events.item.numel(), n = at.numel();
  std::vector<Tensor> wanted = {events.item.to(torch::kInt64)};
  Classes classes;
  if (compares) {
    wanted.push_back(torch::cat({next.unsqueeze(1), negative}, 1).flatten());
  } else {
    classes = classes_of(scene);
    wanted.insert(wanted.end(), classes.rows.begin(), classes.rows.end());
  }
  const auto rows = torch::cat(wanted);
  const auto looked_up = vectors(rows);  // [L + ..., D]
  const auto offset = bias ? nn::lookup_flat(bias->weight, rows.unsqueeze(1), fields_, {}, sparse_) : Tensor();
  const auto x = states(looked_up.narrow(0, 0, count), events).index_select(0, at);  // [n, D]
  if (compares) {
    const auto among = n * (1 + negative.size(1));
    return compared(x, looked_up.narrow(0, count, among), bias ? offset.narrow(0, count, among) : Tensor());
  }
  auto first = count;
  for (const auto& each : classes.rows) {
    const auto w = looked_up.narrow(0, first, each.numel());
    classes.vectors.push_back(bias ? torch::cat({w, offset.narrow(0, first, each.numel())}, 1) : w);
    first += each.numel();
  }
  return looked_up.sum() * 0 + cross_entropy(x, next, scene, classes);
}

Tensor SequenceModel::compared(const Tensor& x, const Tensor& items, const Tensor& offset) const {
  const auto n = x.size(0), among = n > 0 ? items.size(0) / n : 2;
  auto scores = nn::row_products(x, items, among);
  if (offset.defined()) scores = scores + offset.view({n, among});
  scores = final_scores(scores);
  return weighted_mean(loss_of(scores.select(1, 0), scores.slice(1, 1)), {});
}

SequenceModel::Classes SequenceModel::classes_of(const Tensor& scene) const {
  Classes out;
  if (scene.numel() == 0) return out;
  const auto there = torch::bincount(scene, {}, schema().num_scenes());
  for (int64_t s = 0; s < schema().num_scenes(); ++s) {
    if (there[s].item<int64_t>() == 0) continue;
    out.scenes.push_back(s);
    out.rows.push_back(scene_items(*this, s));
  }
  return out;
}

void SequenceModel::look_up(Classes& classes) const {
  if (classes.rows.empty()) return;
  const auto rows = torch::cat(classes.rows);
  auto all = output_vectors(rows);
  if (bias) all = torch::cat({all, nn::lookup_flat(bias->weight, rows.unsqueeze(1), fields_, {}, sparse_)}, 1);
  int64_t first = 0;
  for (const auto& each : classes.rows) {
    classes.vectors.push_back(all.narrow(0, first, each.numel()));
    first += each.numel();
  }
}

Tensor SequenceModel::cross_entropy(const Tensor& states, const Tensor& next, const Tensor& scene,
                                    const Classes& classes) const {
  const auto x = bias ? torch::cat({states, torch::ones({states.size(0), 1}, states.options())}, 1) : states;
  auto sum = x.sum() * 0;
  int64_t trained = 0;
  for (size_t k = 0; k < classes.scenes.size(); ++k) {
    const auto s = classes.scenes[k];
    const auto place = torch::where(scene.eq(s), places(s).index_select(0, next), -1);
    const auto mine = place.ge(0).nonzero().squeeze(1);
    if (mine.numel() == 0) continue;
    sum = sum + nn::softmax_loss(x.index_select(0, mine), classes.vectors[k], place.index_select(0, mine));
    trained += mine.numel();
  }
  return sum / static_cast<double>(std::max<int64_t>(trained, 1));
}

Tensor SequenceModel::loss(const data::Batch& batch) {
  check(batch);
  const auto [events, target] = steps_of(batch);
  const auto at = target.ge(0).nonzero().squeeze(1);
  const auto place = target.index_select(0, at);
  const auto negative =
      batch.next_negative.defined() ? batch.next_negative.index_select(0, place) : batch.next_negative;
  return learn(events, at, batch.next_item.index_select(0, place), batch.next_scene.index_select(0, place), negative);
}

Tensor SequenceModel::states(const Tensor&, const data::Events&) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, name(), ": a model without states of its own must define states_before and loss");
}

Tensor SequenceModel::last_states(const data::Events& events) {
  const auto lengths = events.offsets.diff();
  const auto all = states(vectors(events.item.to(torch::kInt64)), events);  // [L, D]
  const auto some = lengths.gt(0).nonzero().squeeze(1);
  const auto last = all.index_select(0, events.offsets.slice(0, 1).index_select(0, some) - 1);
  if (some.numel() == lengths.numel()) return last;
  return torch::zeros({lengths.numel(), all.size(1)}, all.options()).index_copy(0, some, last);
}

Tensor SequenceModel::newest_weights(const data::Events&) { return {}; }

Tensor SequenceModel::step(const Tensor&, Memory&) {
  TORCH_CHECK_VALUE(false, name(), " does not remember what it computed of earlier events");
}

Tensor SequenceModel::next_state(int64_t row, Memory& memory) {
  TORCH_CHECK_VALUE(memory.events < common.max_length(), name(), ": max_length (", common.max_length(),
                    ") events have passed");
  const torch::NoGradGuard no_grad;
  auto out = step(item->weight.narrow(0, row, 1), memory);
  ++memory.events;
  return out;
}

Tensor SequenceModel::states_before(const data::Events& events, int64_t scene) {
  return last_states(followed(events, scene));
}

Tensor SequenceModel::scored(const Tensor& states, const Tensor& items) const {
  const auto out = nn::dense(states, output_vectors(items));
  return bias ? out + nn::lookup_flat(bias->weight, items.unsqueeze(1), fields_, {}, sparse_).t() : out;
}

Tensor SequenceModel::score_events(const data::Events& events, int64_t scene, const Tensor& items) {
  return scored(states_before(events, scene), items);
}

Tensor SequenceModel::forward(const data::Batch& batch) {
  check_past(*this, batch);
  return scene_scores(batch, schema().num_scenes(), [&](const Tensor& rows, int64_t scene) {
    return scored(states_before(batch.history.take(rows), scene), scene_items(*this, scene));
  });
}

Explanation SequenceModel::explain(const data::Batch& batch) {
  check_past(*this, batch);
  const auto count = batch.history.item.numel();
  auto placed = batch.history;
  placed.time = torch::arange(count);  // where each event lies in the batch
  auto out = torch::zeros({batch.size(), common.dim()}, item->weight.options());
  Tensor weights;  // [L, heads]
  for (int64_t s = 0; s < schema().num_scenes(); ++s) {
    const auto mine = batch.scene.eq(s).nonzero().squeeze(1);
    if (mine.numel() == 0) continue;
    const auto events = batch.history.take(mine);
    out = out.index_copy(0, mine, states_before(events, s));
    const auto found = newest_weights(followed(events, s));
    if (!found.defined()) continue;
    if (!weights.defined()) weights = torch::zeros({count, found.size(1)}, found.options());
    weights = weights.index_copy(0, followed(placed.take(mine), s).time, found);
  }
  if (!weights.defined()) return {{"state", out}};
  return {{"state", out},
          {"attention", nn::pad_ragged(weights, batch.history.offsets).values.transpose(1, 2)},
          {"events", batch.history.offsets.diff()}};
}

bool within_scene(const Model& model) {
  if (const auto* around = dynamic_cast<const Wrapped*>(&model)) return within_scene(around->inner());
  if (const auto* two = dynamic_cast<const SpecialistImpl*>(&model)) return within_scene(*two->general);
  const auto* follows = dynamic_cast<const SequenceModel*>(&model);
  return follows && follows->common.scope() == "scene";
}

int64_t events_read(const Model& model) {
  return within_scene(model) ? std::numeric_limits<int32_t>::max() : model.history_length();
}

}  // namespace polyscene::models
