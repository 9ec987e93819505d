#include "polyscene/models/interest/scene_branch.h"

#include <algorithm>
#include <utility>

#include "polyscene/core/errors.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/int8_rows.h"
#include "polyscene/nn/masks.h"

namespace polyscene::models {
namespace {

const std::vector<std::string> kBranches = {"auto", "attention", "plain"};

torch::nn::Embedding normal_embedding(int64_t rows, int64_t dim, double std) {
  return torch::nn::Embedding(
      torch::nn::EmbeddingOptions(rows, dim)._weight(torch::empty({rows, dim}).normal_(0, std)));
}

}  // namespace

SceneBranchImpl::SceneBranchImpl(std::shared_ptr<const data::Schema> schema, SceneBranchOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  const auto& s = this->schema();
  TORCH_CHECK_VALUE(std::find(kBranches.begin(), kBranches.end(), options.branch()) != kBranches.end(),
                    "SceneBranch: branch must be one of ", join(kBranches), ", got '", options.branch(), "'",
                    suggestion(options.branch(), kBranches));
  TORCH_CHECK_VALUE(options.dim() > 0 && options.max_length() > 0,
                    "SceneBranch: dim and max_length must be positive, got ", options.dim(), " and ",
                    options.max_length());
  TORCH_CHECK_VALUE(options.init_std() >= 0 && options.embedding_l2() >= 0,
                    "SceneBranch: init_std and embedding_l2 must be 0 or more, got ", options.init_std(), " and ",
                    options.embedding_l2());
  TORCH_CHECK_VALUE(options.dropout() >= 0 && options.dropout() < 1, "SceneBranch: dropout must be in [0, 1), got ",
                    options.dropout());
  attends_ = options.branch() == "auto" ? s.scenes.size() > 1 : options.branch() == "attention";

  const auto d = options.dim(), scenes = s.num_scenes(), numeric = s.numeric_width();
  const auto std = options.init_std();
  bias = register_module("bias", nn::FeatureEmbedding(s, nn::FeatureEmbeddingOptions{1, 0}));
  factors = register_module("factors", nn::FeatureEmbedding(s, nn::FeatureEmbeddingOptions{d, std}));
  if (numeric > 0) {
    numeric_bias = register_parameter("numeric_bias", torch::zeros({numeric}));
    numeric_factors = register_parameter("numeric_factors", torch::empty({numeric, d}).normal_(0, std));
  }
  scene_bias = register_parameter("scene_bias", torch::zeros({scenes}));
  base = register_buffer("base", torch::tensor(base_score(s), torch::kFloat32));
  if (!attends_) return;

  for (int64_t f = 0; f < s.num_fields(); ++f) {
    if (s.categorical[f].side == "item") item_slots_.push_back(f);
  }
  for (auto slot = s.num_fields(); slot < factors->slots(); ++slot) item_slots_.push_back(slot);
  scene_factors = register_module("scene_factors", normal_embedding(scenes, d, std));
  attention = register_module("attention", nn::Attention(d, d, nn::AttentionOptions().score(options.score())));
  if (!follows_events()) return;
  event_item = register_module("event_item", normal_embedding(s.categorical[s.item].rows(), d, std));
  event_scene = register_module("event_scene", normal_embedding(scenes, d, std));
  event_label = register_parameter("event_label", torch::empty({2, d}).normal_(0, std));
}

std::vector<std::string> SceneBranchImpl::table_parameters() const {
  std::vector<std::string> out = {"bias.weight", "factors.weight"};
  if (!event_item.is_empty()) out.emplace_back("event_item.weight");
  return out;
}

void SceneBranchImpl::attend(const data::Batch& batch, const torch::Tensor& slots, Output* out) {
  const auto n = slots.size(0), d = options.dim();
  auto query = scene_factors->forward(batch.scene);  // [B, D]
  torch::Tensor values, keys, valid;                 // [B, T, D] twice, [B, T]
  if (!follows_events()) {
    values = keys = slots;
    valid = torch::ones({n, slots.size(1)}, slots.options().dtype(torch::kBool));
  } else {
    const auto index = torch::tensor(item_slots_, torch::kInt64).to(slots.device());
    query = query + slots.index_select(1, index).sum(1);
    const auto& events = batch.history;
    if (events.defined() && events.item.numel() > 0) {
      const auto x = nn::unpacked(event_item->forward(events.item)) +
                     event_label.index_select(0, events.label.gt(0.5).to(torch::kInt64));  // [L, D]
      const auto padded = nn::pad_ragged(x, events.offsets, options.max_length());
      values = padded.values;
      valid = padded.valid;
      keys = values + nn::pad_ragged(event_scene->forward(events.scene), events.offsets, options.max_length()).values;
    } else {
      values = keys = slots.new_zeros({n, 0, d});
      valid = torch::zeros({n, 0}, slots.options().dtype(torch::kBool));
    }
  }
  out->valid = valid;
  if (values.size(1) == 0) {
    out->interest = slots.new_zeros({n, d});
    out->weights = slots.new_zeros({n, 1, 0});
    return;
  }
  const auto attended = attention->attend(query.unsqueeze(1), keys, values, valid.unsqueeze(1));
  out->interest = torch::dropout(attended.output.squeeze(1), options.dropout(), is_training());  // [B, D]
  out->weights = attended.weights;                                                               // [B, 1, T]
}

SceneBranchImpl::Output SceneBranchImpl::run(const data::Batch& batch) {
  check(batch);
  Output out;
  auto slots = factors->forward(batch);      // [B, F, D]
  const auto biases = bias->forward(batch);  // [B, F, 1]
  out.biases = scene_bias.index_select(0, batch.scene) + biases.sum({1, 2});
  out.penalty = 0.5 * biases.square().sum();
  std::vector<torch::Tensor> parts = {slots};
  if (attends_) {
    attend(batch, slots, &out);
    parts.push_back(out.interest.unsqueeze(1));
    parts.push_back(scene_factors->forward(batch.scene).unsqueeze(1));
  }
  // What L2 draws to 0: factors, and the attended interest as one of them; numeric columns have few parameters.
  const auto drawn = torch::cat(parts, 1);
  out.penalty = out.penalty + drawn.square().sum();
  auto all = drawn;
  if (numeric_bias.defined()) {
    const auto x = batch.numeric.to(slots.scalar_type());  // [B, M]
    out.biases = out.biases + x.matmul(numeric_bias);
    all = torch::cat({drawn, x.unsqueeze(2) * numeric_factors}, 1);
  }
  nn::tell_output(*this, all);
  out.interaction = 0.5 * (all.sum(1).square() - all.square().sum(1)).sum(1);  // [B]
  out.logits = base + out.biases + out.interaction;
  return out;
}

torch::Tensor SceneBranchImpl::forward(const data::Batch& batch) { return run(batch).logits; }

torch::Tensor SceneBranchImpl::loss(const data::Batch& batch) {
  const auto out = run(batch);
  const auto rows = static_cast<double>(std::max<int64_t>(batch.size(), 1));
  return task_loss(out.logits, batch) + out.penalty * (0.5 * options.embedding_l2() / rows);
}

Explanation SceneBranchImpl::explain(const data::Batch& batch) {
  const auto out = run(batch);
  Explanation found = {{"biases", out.biases}, {"interaction", out.interaction}};
  if (!attends_) return found;
  found.emplace_back("interest", out.interest);
  if (!follows_events()) {
    found.emplace_back("field_attention", out.weights.squeeze(1));
    return found;
  }
  found.emplace_back("attention", out.weights);
  found.emplace_back("events", out.valid.sum(1));
  return found;
}

}  // namespace polyscene::models
