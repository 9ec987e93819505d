#include "polyscene/models/interest/attention_transfer.h"

#include <algorithm>
#include <utility>

#include "polyscene/core/errors.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/masks.h"

namespace polyscene::models {
namespace {

const std::vector<std::string> kTrainings = {"transfer", "joint", "target"};

torch::nn::Linear zero_linear(int64_t from, int64_t to, bool bias) {
  torch::nn::Linear out(torch::nn::LinearOptions(from, to).bias(bias));
  const torch::NoGradGuard no_grad;
  for (auto& parameter : out->parameters()) parameter.zero_();
  return out;
}

// The scene with the fewest training rows, the first of equals.
int64_t smallest_scene(const data::Schema& schema) {
  return schema.scene_rows.defined() && schema.scene_rows.numel() > 0 ? schema.scene_rows.argmin().item<int64_t>() : 0;
}

}  // namespace

AttentionTransferImpl::AttentionTransferImpl(std::shared_ptr<const data::Schema> schema,
                                             AttentionTransferOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  const auto& s = this->schema();
  TORCH_CHECK_VALUE(options.dim() > 0 && options.hidden() > 0 && options.heads() > 0 && options.points() > 0 &&
                        options.max_length() > 0,
                    "AttentionTransfer: dim, hidden, heads, points and max_length must be positive");
  TORCH_CHECK_VALUE(options.dim() % options.heads() == 0, "AttentionTransfer: heads must divide dim, got ",
                    options.heads(), " heads and dim ", options.dim());
  TORCH_CHECK_VALUE(options.target_lr() > 0, "AttentionTransfer: target_lr must be positive, got ",
                    options.target_lr());
  TORCH_CHECK_VALUE(options.embedding_l2() >= 0, "AttentionTransfer: embedding_l2 must be 0 or more, got ",
                    options.embedding_l2());
  TORCH_CHECK_VALUE(options.dropout() >= 0 && options.dropout() < 1,
                    "AttentionTransfer: dropout must be in [0, 1), got ", options.dropout());
  TORCH_CHECK_VALUE(std::find(kTrainings.begin(), kTrainings.end(), options.training()) != kTrainings.end(),
                    "AttentionTransfer: training must be one of ", join(kTrainings), ", got '", options.training(), "'",
                    suggestion(options.training(), kTrainings));
  target_ = options.target().empty() ? smallest_scene(s) : s.scene(options.target());
  for (const auto& name : options.sources()) {
    TORCH_CHECK_VALUE(s.scene(name) != target_, "AttentionTransfer: the target scene '", name,
                      "' cannot be a source as well");
    sources_.push_back(name);
  }
  if (sources_.empty()) {
    for (const auto& name : s.scenes) {
      if (name != s.scenes[target_]) sources_.push_back(name);
    }
  }

  const auto d = options.dim(), h = options.hidden();
  embedding = register_module("embedding", nn::FeatureEmbedding(s, nn::FeatureEmbeddingOptions{d}));
  if (options.attention()) {
    attention = register_module(
        "attention", nn::MultiHeadAttention(d, nn::MultiHeadAttentionOptions().heads(options.heads()).causal(true)));
  }
  points = register_module(
      "points", nn::InterestPoints(d, nn::InterestPointsOptions().points(options.points()).kernel(options.kernel())));
  const auto width = embedding->output_size() + points->output_size();
  head = register_module(
      "head", nn::DenseAttentionHead(width, nn::DenseAttentionHeadOptions().hidden(h).attention(options.attention())));
  if (options.training() == "transfer" && !sources_.empty()) {
    target_embedding = register_module("target_embedding", nn::FeatureEmbedding(s, nn::FeatureEmbeddingOptions{d, 0}));
    target_dense = register_module("target_dense", zero_linear(width, h, true));
    if (options.attention()) target_gate = register_module("target_gate", zero_linear(h, h, false));
    target_output = register_module("target_output", zero_linear(options.attention() ? 2 * h : h, 1, true));
  }
  if (follows_events()) event_label = register_parameter("event_label", torch::randn({2, d}) * 0.1);
  scene_bias = register_parameter("scene_bias", torch::zeros({s.num_scenes()}));
  base = register_buffer("base", torch::tensor(base_score(s), torch::kFloat32));
}

std::vector<Phase> AttentionTransferImpl::phases() const {
  const auto target = schema().scenes.empty() ? std::string() : schema().scenes[target_];
  Phase fit;
  if (options.training() == "joint" || sources_.empty()) return {fit};
  Phase last;
  last.name = "target";
  last.scenes = {target};
  if (options.training() == "target") return {last};
  last.lr_scale = options.target_lr();
  last.frozen = {"embedding", "attention", "points", "head", "event_label", "scene_bias"};
  fit.name = "source";
  fit.scenes = sources_;
  fit.frozen = {"target_embedding", "target_dense", "target_gate", "target_output"};
  return {fit, last};
}

torch::Tensor AttentionTransferImpl::in_target(const torch::Tensor& scene) const {
  if (target_embedding.is_empty()) return {};
  const auto rows = scene.eq(target_);  // [B]
  return rows.any().item<bool>() ? rows : torch::Tensor();
}

torch::Tensor AttentionTransferImpl::embedded(const data::Batch& batch, const torch::Tensor& target,
                                              torch::Tensor* penalty) {
  auto slots = embedding->forward(batch);  // [B, F, D]
  if (!target.defined()) {
    if (penalty) *penalty = slots.square().sum();
    return slots;
  }
  const auto mask = target.view({-1, 1, 1}).to(slots.scalar_type());
  const auto delta = target_embedding->forward(batch) * mask;
  if (penalty) *penalty = (slots * (1 - mask)).square().sum() + delta.square().sum();
  return slots + delta;
}

AttentionTransferImpl::Interest AttentionTransferImpl::extract(const torch::Tensor& x, const torch::Tensor& valid,
                                                               bool explain) {
  Interest out;
  out.valid = valid;
  auto context = x;
  if (!attention.is_empty() && x.size(1) > 0) {
    if (explain) {
      const auto attended = attention->attend(x, x, x, valid);
      context = attended.output;
      out.weights = attended.weights;
    } else {
      context = attention->forward(x, x, x, valid);  // [B, T, D]
    }
  }
  const auto found = points->extract(context, valid);
  out.points = found.values;
  out.steps = found.steps;
  return out;
}

AttentionTransferImpl::Interest AttentionTransferImpl::from_events(const data::Events& events,
                                                                   const torch::Tensor& target, bool explain) {
  const auto item = schema().categorical[schema().item].name;
  auto x = embedding->embed(item, events.item) +
           event_label.index_select(0, events.label.gt(0.5).to(torch::kInt64));  // [L, D]
  if (target.defined()) {
    const auto mask = target.repeat_interleave(events.offsets.diff().to(target.device())).unsqueeze(1);  // [L, 1]
    x = x + target_embedding->embed(item, events.item) * mask.to(x.scalar_type());
  }
  const auto padded = nn::pad_ragged(x, events.offsets, options.max_length());  // [B, T, D]
  return extract(padded.values, padded.valid, explain);
}

AttentionTransferImpl::Output AttentionTransferImpl::respond(const data::Batch& batch, const torch::Tensor& slots,
                                                             const torch::Tensor& z, const torch::Tensor& target) {
  const auto numeric = batch.numeric.to(slots.scalar_type());
  const auto input = torch::dropout(torch::cat({slots.flatten(1), numeric, z}, 1), options.dropout(), is_training());
  torch::Tensor mask;  // [B, 1]
  if (target.defined()) mask = target.unsqueeze(1).to(slots.scalar_type());
  const auto add = [&](torch::Tensor value, torch::nn::Linear& delta, const torch::Tensor& x) {
    return mask.defined() ? value + mask * nn::dense(x, *delta) : value;
  };
  Output out;
  const auto dense = add(nn::dense(input, *head->dense), target_dense, input).relu();  // [B, H]
  auto both = dense;
  if (!attention.is_empty()) {
    out.gates = add(nn::dense(dense, *head->attention->gate), target_gate, dense).softmax(-1);
    both = torch::cat({dense, out.gates * dense}, 1);  // [B, 2 H]
  } else {
    out.gates = torch::full_like(dense, 1.0 / static_cast<double>(options.hidden()));
  }
  nn::tell_output(*this, both);
  const auto answer = add(nn::dense(both, *head->output), target_output, both).squeeze(1);
  out.logits = base + scene_bias.index_select(0, batch.scene) + answer;
  return out;
}

AttentionTransferImpl::Output AttentionTransferImpl::run(const data::Batch& batch, Interest* interest, bool explain) {
  check(batch);
  const auto target = in_target(batch.scene);
  torch::Tensor penalty;
  const auto slots = embedded(batch, target, &penalty);
  if (!follows_events()) {
    *interest =
        extract(slots, torch::ones({slots.size(0), slots.size(1)}, slots.options().dtype(torch::kBool)), explain);
  } else if (batch.history.defined() && batch.history.item.numel() > 0) {
    *interest = from_events(batch.history, target, explain);
  } else {
    *interest = extract(slots.new_zeros({slots.size(0), 0, slots.size(2)}),
                        torch::zeros({slots.size(0), 0}, slots.options().dtype(torch::kBool)), explain);
  }
  auto out = respond(batch, slots, interest->points, target);
  out.penalty = penalty;
  return out;
}

torch::Tensor AttentionTransferImpl::forward(const data::Batch& batch) {
  Interest interest;
  return run(batch, &interest, false).logits;
}

torch::Tensor AttentionTransferImpl::score(const data::Batch& candidates, const data::Events& events,
                                           const torch::Tensor& owner) {
  if (!follows_events() || !events.defined() || events.item.numel() == 0) return forward(candidates);
  check(candidates);
  const auto target = in_target(candidates.scene);
  const auto users = torch::ones({events.offsets.numel() - 1}, owner.options().dtype(torch::kBool));
  // A user has two sets of points at most, as seen from the sources and as seen from the target.
  auto z = from_events(events, {}, false).points.index_select(0, owner);
  if (target.defined()) {
    z = torch::where(target.unsqueeze(1), from_events(events, users, false).points.index_select(0, owner), z);
  }
  return respond(candidates, embedded(candidates, target, nullptr), z, target).logits;
}

torch::Tensor AttentionTransferImpl::loss(const data::Batch& batch) {
  Interest interest;
  const auto out = run(batch, &interest, false);
  const auto rows = static_cast<double>(std::max<int64_t>(batch.size(), 1));
  return task_loss(out.logits, batch) + out.penalty * (0.5 * options.embedding_l2() / rows);
}

Explanation AttentionTransferImpl::explain(const data::Batch& batch) {
  Interest interest;
  const auto out = run(batch, &interest, true);
  Explanation found = {{"interest_points", interest.points}, {"strongest", interest.steps}, {"gates", out.gates}};
  if (!follows_events()) return found;
  const auto length = interest.valid.sum(1);  // [B]
  auto weights = torch::zeros({batch.size(), 1, 0}, out.logits.options());
  if (interest.weights.defined()) {
    const auto heads = interest.weights.size(1), t = interest.weights.size(3);
    const auto last = (length - 1).clamp_min(0).view({-1, 1, 1, 1}).expand({-1, heads, 1, t});
    weights = interest.weights.gather(2, last).squeeze(2);  // [B, heads, T]
  }
  found.emplace_back("attention", weights);
  found.emplace_back("events", length);
  return found;
}

}  // namespace polyscene::models
