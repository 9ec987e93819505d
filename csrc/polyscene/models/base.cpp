#include "polyscene/models/base.h"

#include <algorithm>
#include <cmath>

#include "polyscene/data/classes.h"
#include "polyscene/nn/feature_embedding.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/scene_groups.h"

namespace polyscene::models {

torch::Tensor weighted_mean(const torch::Tensor& loss, const torch::Tensor& weight) {
  // An empty batch has loss 0 rather than NaN: a scene may have no rows in a step.
  if (!weight.defined()) return loss.sum() / std::max<int64_t>(loss.numel(), 1);
  const auto w = weight.to(loss.scalar_type());
  return (loss * w).sum() / w.sum().clamp_min(1e-12);
}

double base_score(const data::Schema& schema) {
  if (schema.task == "rating") return schema.label_mean;
  const double mean = std::clamp(schema.label_mean, 1e-6, 1 - 1e-6);
  return std::log(mean / (1 - mean));
}

torch::Tensor scene_items(const Model& model, int64_t scene) {
  const auto history = model.history();
  if (history && history->keeps_events()) return history->interactions()->scene(scene).candidates;
  return torch::arange(data::kFirstId, model.schema().categorical[model.schema().item].rows());
}

torch::Tensor Model::task_loss(const torch::Tensor& out, const data::Batch& batch) const {
  TORCH_CHECK_VALUE(batch.label.defined(), name(), ": the batch has no label; name its column when the table is read");
  const auto label = batch.label.to(out.scalar_type());  // [B]
  const auto& task = schema().task;
  if (task == "rating") return weighted_mean((out - label).square(), batch.weight);
  if (data::has_classes(task)) {
    const auto classes = data::num_classes(schema());
    TORCH_CHECK_VALUE(out.dim() == 2 && out.size(0) == label.size(0) && out.size(1) == classes, name(),
                      ": forward must return one logit for each class, [", label.size(0), ", ", classes, "], got ",
                      out.sizes());
    const auto lost = torch::nll_loss(out.log_softmax(1), label.to(torch::kInt64), {}, at::Reduction::None);  // [B]
    return weighted_mean(lost, batch.weight);
  }
  TORCH_CHECK_VALUE(task == "ctr" || task == "ranking", name(), ": there is no default loss for task '", task,
                    "'; the model must define its own");
  return weighted_mean(torch::binary_cross_entropy_with_logits(out, label, {}, {}, at::Reduction::None), batch.weight);
}

torch::Tensor Model::loss(const data::Batch& batch) { return task_loss(forward(batch), batch); }

torch::Tensor Model::represent(const data::Batch& batch) {
  const auto grouped = nn::group(batch, schema().num_scenes());
  const nn::HeadInput head(batch.size());
  forward(grouped.batch);
  TORCH_CHECK_VALUE(head.value().defined(), name(),
                    ": has no hidden layer in front of its head, so that there is no representation of a row; models "
                    "with a tower have one");
  return grouped.ungroup(head.value());
}

Explanation Model::explain(const data::Batch&) { return {}; }

void Model::prepare(const data::Table& train) {
  TORCH_CHECK_VALUE(train.schema().digest() == schema().digest(), name(),
                    ": the training table belongs to another schema than the model");
  if (schema().user < 0 || schema().item < 0) return;
  const bool events = history_length() > 0 || !train.streams();
  history_ = train.history() ? train.history() : data::History::fit(train, events);
}

bool Model::fit_closed_form(const data::Table&) { return false; }

torch::Tensor Model::score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner) {
  auto batch = candidates;
  if (history_length() > 0) batch.history = events.take(owner);
  return forward(batch);
}

void Model::begin_phase(const Phase&) {}

void Model::begin_epoch(int64_t) {}

void Model::encode() {}

torch::Tensor Model::score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
  TORCH_CHECK_VALUE(schema().num_fields() == 2 && schema().numeric_width() == 0 && schema().lists.empty(), name(),
                    ": reads more of a row than its user, item and scene, so that it cannot score pairs of them; "
                    "recommend() fills the other columns in");
  const auto count = users.numel(), n = items.numel();
  data::Batch pairs;
  pairs.user = users.repeat_interleave(n);
  pairs.item = items.repeat({count});
  pairs.scene = torch::full({count * n}, scene, torch::kInt64);
  pairs.categorical = torch::empty({count * n, 2}, torch::kInt32);
  pairs.categorical.select(1, schema().user).copy_(pairs.user);
  pairs.categorical.select(1, schema().item).copy_(pairs.item);
  pairs.numeric = torch::empty({count * n, 0});
  pairs.row = torch::arange(count * n);
  pairs.schema_digest = schema().digest();
  if (history_length() > 0 && history_) {
    const auto owner = torch::arange(count).repeat_interleave(n);
    return score(pairs, history_->before(users, {}, {}, history_length()), owner).view({count, n});
  }
  return forward(pairs).view({count, n});
}

torch::Tensor Model::transition_matrix(int64_t, int64_t) {
  TORCH_CHECK_VALUE(false, name(),
                    ": this model has no interests that move from scene to scene; interest_migration has");
}

std::vector<std::string> Model::table_parameters() const {
  std::vector<std::string> out;
  for (const auto& child : named_modules("", /*include_self=*/false)) {
    if (child.value()->as<torch::nn::EmbeddingImpl>() || child.value()->as<nn::FeatureEmbeddingImpl>())
      out.push_back(child.key() + ".weight");
  }
  return out;
}

void Model::sparse_gradients(bool on) {
  for (const auto& child : modules(/*include_self=*/false)) {
    if (auto* table = child->as<torch::nn::EmbeddingImpl>()) table->options.sparse(on);
    if (auto* fields = child->as<nn::FeatureEmbeddingImpl>()) fields->set_sparse(on);
  }
}

void Model::check(const data::Batch& batch) const {
  TORCH_CHECK_VALUE(batch.schema_digest == schema().digest(), name(), ": the batch was encoded with schema ",
                    batch.schema_digest.empty() ? "(none)" : batch.schema_digest.substr(0, 12), ", the model has ",
                    schema().digest().substr(0, 12), "; read the table with schema=model.schema");
}

}  // namespace polyscene::models
