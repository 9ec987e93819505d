#include "polyscene/models/sequence/bst.h"

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/masks.h"

namespace polyscene::models {
namespace {

constexpr int64_t kPowers = 64;  // of two, that a time of 64 bits has

}  // namespace

BSTImpl::BSTImpl(std::shared_ptr<const data::Schema> schema, BSTOptions options_)
    : EventModel(std::move(schema), options_.common, "BST"), options(std::move(options_)) {
  nn::check_positive("BST", "heads", options.heads());
  nn::check_positive("BST", "layers", options.layers());
  nn::check_dropout("BST", options.dropout());
  TORCH_CHECK_VALUE(options.position_dim() >= 0, "BST: position_dim must be 0 or more, got ", options.position_dim());
  TORCH_CHECK_VALUE(options.position() == "time" || options.position() == "order",
                    "BST: position must be 'time' or 'order', got '", options.position(), "'");
  const auto& pool = options.pool();
  TORCH_CHECK_VALUE(pool == "concat" || pool == "mean" || pool == "sum" || pool == "target",
                    "BST: pool must be 'concat', 'mean', 'sum' or 'target', got '", pool, "'");
  const auto rows = options.position() == "time" ? kPowers : 1 + history_length();
  const auto dim = options.position_dim() > 0 ? options.position_dim() : common.dim();
  positions = register_parameter("positions", torch::randn({rows, dim}) * common.init_std());
  const auto m = model_dim();
  TORCH_CHECK_VALUE(m % options.heads() == 0, "BST: heads must divide the width of an event with its position, ", m,
                    ", got ", options.heads());
  attention = register_module("attention", torch::nn::ModuleList());
  norm1 = register_module("norm1", torch::nn::ModuleList());
  norm2 = register_module("norm2", torch::nn::ModuleList());
  inner = register_module("inner", torch::nn::ModuleList());
  outer = register_module("outer", torch::nn::ModuleList());
  for (int64_t layer = 0; layer < options.layers(); ++layer) {
    attention->push_back(
        nn::MultiHeadAttention(m, nn::MultiHeadAttentionOptions().heads(options.heads()).dropout(options.dropout())));
    norm1->push_back(torch::nn::LayerNorm(torch::nn::LayerNormOptions({m})));
    norm2->push_back(torch::nn::LayerNorm(torch::nn::LayerNormOptions({m})));
    inner->push_back(torch::nn::Linear(m, m));
    outer->push_back(torch::nn::Linear(m, m));
  }
  const auto read = pool == "concat" ? (1 + history_length()) * m : m;
  network = register_module(
      "network",
      nn::SceneMLP(
          input_size() + read,
          nn::MLPOptions().hidden(options.hidden()).output(1).activation("leaky_relu").dropout(options.dropout())));
}

torch::Tensor BSTImpl::places(const Rows& rows, const Behaviour& events, const torch::Tensor& back) const {
  if (options.position() == "order") return back;
  if (!rows.batch.time.defined()) return back.clamp_max(kPowers - 1);
  const auto gap = (rows.batch.time.index_select(0, events.row) - events.time).clamp_min(0);
  return (gap.to(torch::kFloat64) + 1).log2().floor().to(torch::kInt64).clamp_max(kPowers - 1);
}

torch::Tensor BSTImpl::pooled(const torch::Tensor& o, const torch::Tensor& valid) const {
  if (options.pool() == "target") return o.select(1, 0);
  const auto kept = nn::zero_padding(o, valid);
  if (options.pool() == "concat") {
    return torch::constant_pad_nd(kept, {0, 0, 0, 1 + history_length() - o.size(1)}).flatten(1);
  }
  const auto sum = kept.sum(1);
  return options.pool() == "sum" ? sum : sum / valid.sum(1, /*keepdim=*/true);
}

SceneModel::Answer BSTImpl::body(const Rows& rows, bool explaining) {
  const auto events = behaviour(rows);
  // Newest first: event j of a row is so many behind its last one.
  const auto last = events.offsets.slice(0, 1).index_select(0, events.row) - 1;
  const auto first = events.offsets.slice(0, 0, -1).index_select(0, events.row);
  const auto turned = first + last - torch::arange(events.row.numel());
  const auto back = last - torch::arange(events.row.numel()) + 1;  // 1: the newest
  const auto placed = torch::cat({events.keys, positions.index_select(0, places(rows, events, back))}, 1);
  const auto start = torch::cat({target(rows), positions.narrow(0, 0, 1).expand({rows.batch.size(), -1})}, 1);
  const auto side = nn::pad_ragged(placed.index_select(0, turned), events.offsets);
  auto o = torch::cat({start.unsqueeze(1), side.values}, 1);                            // [B, 1 + T, M]
  const auto valid = torch::cat({side.valid.new_ones({o.size(0), 1}), side.valid}, 1);  // [B, 1 + T]
  const auto drop = [&](const torch::Tensor& x) {
    return options.dropout() > 0 ? torch::dropout(x, options.dropout(), is_training()) : x;
  };
  torch::Tensor weights;  // of the last block, [B, heads, 1 + T, 1 + T]
  for (int64_t layer = 0; layer < options.layers(); ++layer) {
    auto* attend = attention->ptr<nn::MultiHeadAttentionImpl>(layer).get();
    torch::Tensor met;
    if (explaining && layer + 1 == options.layers()) {
      const auto found = attend->attend(o, o, o, valid);
      met = found.output;
      weights = found.weights;
    } else {
      met = attend->forward(o, o, o, valid);
    }
    const auto s = norm1->ptr<torch::nn::LayerNormImpl>(layer)->forward(o + drop(met));
    const auto h = drop(torch::leaky_relu(nn::dense(s, *inner->ptr<torch::nn::LinearImpl>(layer))));
    o = norm2->ptr<torch::nn::LayerNormImpl>(layer)->forward(
        s + drop(nn::dense(h, *outer->ptr<torch::nn::LinearImpl>(layer))));
  }
  const auto x = torch::cat({rows.x, pooled(o, valid)}, 1);
  Answer out{network->forward(x, rows.all).flatten(), {}};
  if (explaining) {
    out.parts = {{"attention", weights.mean(1).select(1, 0).narrow(1, 1, o.size(1) - 1)},
                 {"events", events.offsets.diff()}};
  }
  return out;
}

}  // namespace polyscene::models
