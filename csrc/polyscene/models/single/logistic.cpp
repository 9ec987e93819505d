#include "polyscene/models/single/logistic.h"

namespace polyscene::models {

LogisticImpl::LogisticImpl(std::shared_ptr<const data::Schema> schema, LogisticOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.embedding_l2() >= 0, "Logistic: embedding_l2 must be 0 or more, got ", options.embedding_l2());
  std::vector<int64_t> first = {0};
  for (const auto& field : this->schema().categorical) first.push_back(first.back() + field.rows());
  const auto rows = first.back() + this->schema().num_scenes();
  table = register_module("table", torch::nn::Embedding(torch::nn::EmbeddingOptions(rows, 1)._weight(torch::zeros({rows, 1}))));
  offsets = register_buffer("offsets", torch::tensor(first, torch::kInt64));
  if (const auto width = this->schema().numeric_width()) numeric = register_parameter("numeric", torch::zeros({width}));
  bias = register_parameter("bias", torch::scalar_tensor(base_score(this->schema()), torch::kFloat32));
}

torch::Tensor LogisticImpl::looked_up(const data::Batch& batch) {
  check(batch);
  const auto scene = batch.scene.unsqueeze(1);                                            // [B, 1]
  const auto rows = torch::cat({batch.categorical.to(torch::kInt64), scene}, 1) + offsets;  // [B, F + 1]
  return table->forward(rows).squeeze(2);                                                 // [B, F + 1]
}

torch::Tensor LogisticImpl::logits(const torch::Tensor& looked_up, const data::Batch& batch) const {
  const auto out = looked_up.sum(1) + bias;  // [B]
  return numeric.defined() ? out + batch.numeric.to(numeric.scalar_type()).mv(numeric) : out;
}

torch::Tensor LogisticImpl::forward(const data::Batch& batch) { return logits(looked_up(batch), batch); }

torch::Tensor LogisticImpl::loss(const data::Batch& batch) {
  const auto weights = looked_up(batch);  // [B, F + 1]
  const auto fit = task_loss(logits(weights, batch), batch);
  if (options.embedding_l2() == 0) return fit;
  return fit + weights.square().sum() * (0.5 * options.embedding_l2() / std::max<int64_t>(batch.size(), 1));
}

Explanation LogisticImpl::explain(const data::Batch& batch) {
  Explanation out = {{"fields", looked_up(batch)}};
  if (numeric.defined()) out.emplace_back("numeric", batch.numeric.to(numeric.scalar_type()) * numeric);
  return out;
}

}  // namespace polyscene::models
