#include "polyscene/data/batch.h"

#include "polyscene/data/positions.h"

namespace polyscene::data {
namespace {

torch::Tensor pick(const torch::Tensor& tensor, const torch::Tensor& index) {
  return tensor.defined() ? tensor.index_select(0, index.to(tensor.device())) : tensor;
}

torch::Tensor moved(const torch::Tensor& tensor, torch::Device device) {
  return tensor.defined() ? tensor.to(device) : tensor;
}

// Positions of the events of `rows` in the flat event tensors, with the offsets of the result.
Ragged event_positions(const torch::Tensor& offsets, const torch::Tensor& rows) {
  const auto total = offsets[-1].item<int64_t>();
  return Ragged{torch::arange(total, torch::kInt64), offsets}.take(rows);
}

// The events at these positions, in lists of the given offsets.
Events at_positions(const Events& events, const Ragged& positions) {
  const auto& [index, offsets] = positions;
  Events out;
  out.offsets = offsets.to(events.offsets.device());
  out.item = pick(events.item, index);
  out.scene = pick(events.scene, index);
  out.label = pick(events.label, index);
  out.time = pick(events.time, index);
  if (events.interest.defined())
    out.interest = Ragged{events.interest.values, events.interest.offsets.cpu()}.take(index);
  return out;
}

}  // namespace

Events Events::take(const torch::Tensor& rows) const {
  if (!defined()) return {};
  return at_positions(*this, event_positions(offsets.cpu(), rows.cpu()));
}

Events Events::newest(int64_t length) const {
  if (!defined() || offsets.numel() < 2) return *this;
  const auto kept = offsets.diff().cpu().clamp_max(length);  // [B]
  const auto ends = torch::constant_pad_nd(kept.cumsum(0), {1, 0});
  if (ends[-1].item<int64_t>() == offsets[-1].item<int64_t>() - offsets[0].item<int64_t>()) return *this;
  // Event j of the result is event j of the source, moved on by what its row and the rows before leave out.
  const auto skipped = offsets.cpu().slice(0, 1) - ends.slice(0, 1);
  return at_positions(*this, {torch::arange(ends[-1].item<int64_t>()) + skipped.repeat_interleave(kept), ends});
}

Events Events::keep(const torch::Tensor& wanted) const {
  const auto before = torch::constant_pad_nd(wanted.to(torch::kInt64).cumsum(0), {1, 0}).cpu();
  return at_positions(*this, {wanted.nonzero().squeeze(1).cpu(), before.index_select(0, offsets.cpu())});
}

torch::Tensor Events::gaps() const {
  auto out = torch::zeros_like(time);
  if (time.numel() > 1) out.slice(0, 1).copy_(time.diff());
  const auto first = offsets.slice(0, 0, -1).masked_select(offsets.diff().gt(0));
  return out.index_fill_(0, first, 0);
}

Events joined(const Events& older, const Events& newer) {
  const auto rows = older.offsets.numel() - 1;
  const auto total = older.offsets[-1];
  Events both;
  both.offsets = torch::cat({older.offsets, newer.offsets.slice(0, 1) + total});
  both.item = torch::cat({older.item, newer.item});
  both.scene = torch::cat({older.scene, newer.scene});
  both.label = torch::cat({older.label, newer.label});
  both.time = torch::cat({older.time, newer.time});
  if (older.interest.defined() && newer.interest.defined()) {
    both.interest = {
        torch::cat({older.interest.values, newer.interest.values}),
        torch::cat({older.interest.offsets, newer.interest.offsets.slice(0, 1) + older.interest.offsets[-1]})};
  }
  const auto order = torch::stack({torch::arange(rows), torch::arange(rows, 2 * rows)}, 1).flatten();
  auto out = both.take(order);
  out.offsets = out.offsets.slice(0, 0, std::nullopt, 2).contiguous();
  return out;
}

Events Events::to(torch::Device device) const {
  if (!defined()) return {};
  return {offsets.to(device),   moved(item, device), moved(scene, device),
          moved(label, device), moved(time, device), interest.to(device)};
}

Batch Batch::take(const torch::Tensor& given) const {
  const auto index = to_positions("Batch.take: index", given).cpu();
  if (index.numel() > 0) {
    const auto low = index.min().item<int64_t>();
    const auto high = index.max().item<int64_t>();
    TORCH_CHECK_INDEX(low >= 0 && high < size(), "Batch.take: index must be in [0, ", size(), "), got ",
                      low < 0 ? low : high);
  }
  Batch out;
  out.categorical = pick(categorical, index);
  out.numeric = pick(numeric, index);
  for (const auto& [name, list] : sequence) out.sequence[name] = list.take(index);
  out.scene = pick(scene, index);
  out.label = pick(label, index);
  out.weight = pick(weight, index);
  out.user = pick(user, index);
  out.item = pick(item, index);
  out.negative = pick(negative, index);
  out.row = pick(row, index);
  out.time = pick(time, index);
  out.interest = interest.take(index);
  out.history = history.take(index);
  if (next_item.defined()) {
    const auto events = event_positions(history.offsets.cpu(), index).values;
    out.next_item = pick(next_item, events);
    out.next_scene = pick(next_scene, events);
    out.next_negative = pick(next_negative, events);
  }
  out.schema_digest = schema_digest;
  return out;
}

Batch Batch::to(torch::Device device) const {
  Batch out = *this;
  for (auto* tensor : {&out.categorical, &out.numeric, &out.scene, &out.label, &out.weight, &out.user, &out.item,
                       &out.negative, &out.row, &out.time, &out.next_item, &out.next_scene, &out.next_negative}) {
    *tensor = moved(*tensor, device);
  }
  for (auto& [name, list] : out.sequence) list = list.to(device);
  out.interest = interest.to(device);
  out.history = history.to(device);
  return out;
}

}  // namespace polyscene::data
