#include "polyscene/models/sequence/bert4rec.h"

#include "polyscene/models/sequence/layers.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/layer_norm_activation.h"
#include "polyscene/nn/ragged_attention.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

constexpr double kBertEps = 1e-12;

// One event a row.
data::Events single(const Tensor& item, const Tensor& scene) {
  data::Events out;
  const auto rows = item.numel();
  out.offsets = torch::arange(rows + 1);
  out.item = item.to(torch::kInt32);
  out.scene = scene;
  out.label = torch::ones({rows});
  out.time = torch::zeros({rows}, torch::kInt64);
  return out;
}

// A mask after the events of each list.
data::Events masked_after(data::Events events) {
  const auto rows = events.offsets.numel() - 1;
  events.interest = {};
  return data::joined(events, single(torch::full({rows}, data::kMissing), torch::zeros({rows}, torch::kInt64)));
}

}  // namespace

BERT4RecImpl::BERT4RecImpl(std::shared_ptr<const data::Schema> schema, BERT4RecOptions options_)
    : SequenceModel(std::move(schema), options_.common, "BERT4Rec", {"ce"}), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.layers() > 0, "BERT4Rec: layers must be positive, got ", options.layers());
  TORCH_CHECK_VALUE(options.heads() > 0 && common.dim() % options.heads() == 0, "BERT4Rec: heads must divide dim (",
                    common.dim(), "), got ", options.heads());
  TORCH_CHECK_VALUE(options.feedforward() >= 0, "BERT4Rec: feedforward must be 0 or more, got ", options.feedforward());
  TORCH_CHECK_VALUE(options.mask_ratio() > 0 && options.mask_ratio() < 1,
                    "BERT4Rec: mask_ratio must lie in (0, 1), got ", options.mask_ratio());
  TORCH_CHECK_VALUE(options.last_ratio() >= 0 && options.last_ratio() <= 1,
                    "BERT4Rec: last_ratio must lie in [0, 1], got ", options.last_ratio());
  TORCH_CHECK_VALUE(common.max_length() > 1, "BERT4Rec: max_length must be at least 2, an event and the mask, got ",
                    common.max_length());
  const auto dim = common.dim(), width = options.feedforward() > 0 ? options.feedforward() : 4 * dim;
  item->weight.detach().slice(0, data::kMissing).normal_(0, 0.02);  // the row of the mask too
  const auto items = item->weight.size(0);
  bias = register_module("bias",
                         torch::nn::Embedding(torch::nn::EmbeddingOptions(items, 1)._weight(torch::zeros({items, 1}))));
  positions = register_parameter("positions", torch::empty({common.max_length(), dim}).normal_(0, 0.02));
  query = register_module("query", torch::nn::ModuleList());
  key_value = register_module("key_value", torch::nn::ModuleList());
  output = register_module("output", torch::nn::ModuleList());
  inner = register_module("inner", torch::nn::ModuleList());
  outer = register_module("outer", torch::nn::ModuleList());
  attention_norm = register_module("attention_norm", torch::nn::ModuleList());
  feedforward_norm = register_module("feedforward_norm", torch::nn::ModuleList());
  for (int64_t n = 0; n < options.layers(); ++n) {
    query->push_back(torch::nn::Linear(dim, dim));
    key_value->push_back(torch::nn::Linear(dim, 2 * dim));
    output->push_back(torch::nn::Linear(dim, dim));
    inner->push_back(torch::nn::Linear(dim, width));
    outer->push_back(torch::nn::Linear(width, dim));
    attention_norm->push_back(norm_layer(dim, kBertEps));
    feedforward_norm->push_back(norm_layer(dim, kBertEps));
  }
  norm = register_module("norm", norm_layer(dim, kBertEps));
  head = register_module("head", torch::nn::Linear(dim, dim));
  head_norm = register_module("head_norm", norm_layer(dim, kBertEps));
}

Tensor BERT4RecImpl::drop(const Tensor& x) { return nn::drop(x, common.dropout(), is_training()); }

Tensor BERT4RecImpl::states(const Tensor& items, const data::Events& events) { return encoded(items, events, nullptr); }

Tensor BERT4RecImpl::encoded(const Tensor& items, const data::Events& events, Tensor* weights) {
  const auto lengths = events.offsets.diff();
  const auto left = events.offsets.slice(0, 1).repeat_interleave(lengths) - torch::arange(items.size(0));
  auto x = drop(nn::layer_norm(items + positions.index_select(0, common.max_length() - left), *norm));  // [L, D]
  const auto dropout = is_training() ? common.dropout() : 0;
  for (int64_t n = 0; n < options.layers(); ++n) {
    const auto q = nn::dense(x, query, n), kv = nn::dense(x, key_value, n);
    if (weights && n + 1 == options.layers()) *weights = newest_weights_of(q, kv, events.offsets, options.heads());
    const auto attended = nn::ragged_attention(q, kv, events.offsets, options.heads(), /*causal=*/false, dropout);
    const auto y = nn::layer_norm(x + drop(nn::dense(attended, output, n)), attention_norm, n);
    x = nn::layer_norm(y + drop(nn::dense(torch::gelu(nn::dense(y, inner, n)), outer, n)), feedforward_norm, n);
  }
  return nn::layer_norm(torch::gelu(nn::dense(x, *head)), *head_norm);
}

Tensor BERT4RecImpl::last_states(const data::Events& events) {
  const auto before = events.newest(common.max_length() - 1);
  const auto all = masked_after(before);
  const auto out = states(vectors(all.item.to(torch::kInt64)), all).index_select(0, all.offsets.slice(0, 1) - 1);
  // Of somebody without events nothing is said.
  return out * before.offsets.diff().gt(0).to(out.scalar_type()).unsqueeze(1);
}

Tensor BERT4RecImpl::newest_weights(const data::Events& events) {
  const auto before = events.newest(common.max_length() - 1);
  const auto all = masked_after(before);
  Tensor found;
  encoded(vectors(all.item.to(torch::kInt64)), all, &found);
  auto shown = torch::ones({all.item.numel()}, torch::kBool);
  shown.index_fill_(0, all.offsets.slice(0, 1) - 1, false);
  found = found.index_select(0, shown.nonzero().squeeze(1));
  const auto lengths = events.offsets.diff();
  const auto left = events.offsets.slice(0, 1).repeat_interleave(lengths) - torch::arange(events.item.numel());
  const auto at = left.lt(common.max_length()).nonzero().squeeze(1);  // the oldest of T events gives way to the mask
  return torch::zeros({events.item.numel(), options.heads()}, found.options()).index_copy(0, at, found);
}

Tensor BERT4RecImpl::loss(const data::Batch& batch) {
  check(batch);
  TORCH_CHECK_VALUE(batch.next_item.defined(), name(),
                    ": the batch has no history with what followed; table.batch(rows) of task 'sequence' carries it");
  auto past = batch.history;
  past.interest = {};
  const auto all = data::joined(past, single(batch.item, batch.scene));
  // The first event of a window follows nothing here: the window before asks for it, where it is a row of the table.
  auto later = torch::ones({all.item.numel()}, torch::kBool);
  later.index_fill_(0, all.offsets.slice(0, 0, -1), false);
  auto asked = torch::zeros({all.item.numel()}, torch::kInt64);
  asked.masked_scatter_(later, batch.next_item.ge(data::kFirstId).to(torch::kInt64));
  const auto events = kept(lists_of(all, &asked), &asked);
  const auto lengths = events.offsets.diff();
  const auto owner = torch::arange(lengths.numel()).repeat_interleave(lengths);
  const auto last = events.offsets.slice(0, 1).repeat_interleave(lengths) - 1 == torch::arange(owner.numel());
  // A window masks its newest event alone, or each with the same probability and, where none was drawn, the newest.
  const auto alone = torch::rand({lengths.numel()}).lt(options.last_ratio()).index_select(0, owner);
  auto masked = torch::where(alone, last, torch::rand({owner.numel()}).lt(options.mask_ratio())) & asked.gt(0);
  const auto drawn = torch::zeros({lengths.numel()}, torch::kInt64).index_add_(0, owner, masked.to(torch::kInt64));
  masked = masked | (last & drawn.index_select(0, owner).eq(0));
  masked = masked & asked.gt(0) & events.item.ge(data::kFirstId) & lengths.index_select(0, owner).gt(1);
  const auto at = masked.nonzero().squeeze(1);
  auto shown = events;
  shown.item = events.item.masked_fill(masked, data::kMissing);
  return learn(shown, at, events.item.index_select(0, at).to(torch::kInt64), events.scene.index_select(0, at), {});
}

}  // namespace polyscene::models
