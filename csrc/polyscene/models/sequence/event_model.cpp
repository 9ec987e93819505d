#include "polyscene/models/sequence/event_model.h"

#include "polyscene/nn/checks.h"
#include "polyscene/nn/masks.h"

namespace polyscene::models {

EventModel::EventModel(std::shared_ptr<const data::Schema> schema_, const EventOptions& options, const char* owner)
    : FieldModel(std::move(schema_), options.common, owner, {}), max_length_(options.max_length()) {
  const auto& known = schema();
  TORCH_CHECK_VALUE(known.user >= 0 && known.item >= 0, owner,
                    ": the data must have a user and an item column, it has ", "no ", known.user < 0 ? "user" : "item",
                    "; name it when the table is read");
  nn::check_positive(owner, "max_length", options.max_length());
  TORCH_CHECK_VALUE(options.events() == "positive" || options.events() == "all", owner,
                    ": events must be 'positive' or 'all', got '", options.events(), "'");
  fields_of_item_ = {known.item};
  for (int64_t f = 0; f < static_cast<int64_t>(known.categorical.size()); ++f) {
    if (f != known.item && known.categorical[f].side == "item") fields_of_item_.push_back(f);
  }
  if (options.events() == "all") {
    event_label = register_parameter("event_label", torch::randn({2, width()}) * common.init_std());
  }
}

torch::Tensor EventModel::Behaviour::sum(const torch::Tensor& values) const {
  if (empty()) return values.new_zeros({offsets.numel() - 1, values.size(1)});
  return at::segment_reduce(values, "sum", /*lengths=*/{}, /*indices=*/{}, offsets, /*axis=*/0, /*unsafe=*/true,
                            /*initial=*/0);
}

torch::Tensor EventModel::Behaviour::softmax(const torch::Tensor& scores) const {
  if (empty()) return scores;
  const auto side = nn::pad_ragged(scores, offsets);
  return nn::unpad_ragged(nn::masked_softmax(side.values, side.valid), side.valid).values;
}

torch::Tensor EventModel::Behaviour::padded(const torch::Tensor& values) const {
  return nn::pad_ragged(values, offsets).values;
}

torch::Tensor EventModel::keys_of(const torch::Tensor& item) {
  std::vector<torch::Tensor> parts;
  for (const auto field : fields_of_item_) {
    const auto& name = schema().categorical[field].name;
    if (field == schema().item) {
      parts.push_back(embedding->embed(name, item));
    } else {
      // Before `prepare` nothing is known of items.
      const auto rows = history() ? history()->item_fields.select(1, field).index_select(0, item)
                                  : torch::zeros_like(item, torch::kInt32);
      parts.push_back(embedding->embed(name, rows));
    }
  }
  return torch::cat(parts, 1);
}

EventModel::Behaviour EventModel::behaviour(const Rows& rows) {
  const auto b = rows.batch.size();
  auto events = rows.batch.history;
  Behaviour out;
  if (!events.defined()) {
    const auto none = torch::zeros({0}, torch::kInt64);
    return {rows.slots.new_zeros({0, width()}), none, none, none, torch::zeros({b + 1}, torch::kInt64), none};
  }
  events = events.newest(max_length_);
  auto row = torch::repeat_interleave(torch::arange(b), events.offsets.diff());
  auto item = events.item.to(torch::kInt64), scene = events.scene, time = events.time;
  auto offsets = events.offsets;
  auto label = events.label.gt(0.5);
  if (!event_label.defined()) {
    const auto kept = label.nonzero().squeeze(1);
    row = row.index_select(0, kept);
    item = item.index_select(0, kept);
    scene = scene.index_select(0, kept);
    time = time.index_select(0, kept);
    offsets = torch::cat({torch::zeros({1}, torch::kInt64), torch::bincount(row, {}, b).cumsum(0)});
  }
  auto keys = keys_of(item);
  if (event_label.defined()) keys = keys + event_label.index_select(0, label.to(torch::kInt64));
  return {keys, item, scene, time, offsets, row};
}

torch::Tensor EventModel::target(const Rows& rows) const {
  std::vector<torch::Tensor> parts;
  for (const auto field : fields_of_item_) parts.push_back(rows.slots.select(1, field));
  return torch::cat(parts, 1);
}

Explanation EventModel::attended(const Behaviour& events, const torch::Tensor& weight) {
  return {{"attention", events.padded(weight)}, {"events", events.offsets.diff()}};
}

}  // namespace polyscene::models
