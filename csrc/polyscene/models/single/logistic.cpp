#include "polyscene/models/single/logistic.h"

#include <algorithm>

#include "polyscene/nn/hidden.h"

namespace polyscene::models {

LogisticImpl::LogisticImpl(std::shared_ptr<const data::Schema> schema, LogisticOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.embedding_l2() >= 0, "Logistic: embedding_l2 must be 0 or more, got ",
                    options.embedding_l2());
  fields = register_module("fields",
                           nn::FeatureEmbedding(this->schema(), nn::FeatureEmbeddingOptions{.dim = 1, .init_std = 0}));
  scene = register_parameter("scene", torch::zeros({this->schema().num_scenes()}));
  if (const auto width = this->schema().numeric_width()) numeric = register_parameter("numeric", torch::zeros({width}));
  bias = register_parameter("bias", torch::scalar_tensor(base_score(this->schema()), torch::kFloat32));
}

LogisticImpl::Parts LogisticImpl::parts(const data::Batch& batch) {
  check(batch);
  Parts out{fields->forward(batch).squeeze(2), scene.index_select(0, batch.scene), {}};
  if (numeric.defined()) out.numeric = batch.numeric.to(numeric.scalar_type()) * numeric;
  return out;
}

torch::Tensor LogisticImpl::logits(const Parts& parts) const {
  if (nn::heard())
    nn::tell_output(*this, numeric.defined() ? torch::cat({parts.fields, parts.numeric}, 1) : parts.fields);
  const auto out = parts.fields.sum(1) + parts.scene + bias;  // [B]
  return numeric.defined() ? out + parts.numeric.sum(1) : out;
}

torch::Tensor LogisticImpl::forward(const data::Batch& batch) { return logits(parts(batch)); }

torch::Tensor LogisticImpl::loss(const data::Batch& batch) {
  const auto found = parts(batch);
  const auto fit = task_loss(logits(found), batch);
  if (options.embedding_l2() == 0) return fit;
  const auto rows = found.fields.square().sum() + found.scene.square().sum();
  return fit + rows * (0.5 * options.embedding_l2() / std::max<int64_t>(batch.size(), 1));
}

Explanation LogisticImpl::explain(const data::Batch& batch) {
  const auto found = parts(batch);
  Explanation out = {{"fields", found.fields}, {"scene", found.scene}};
  if (numeric.defined()) out.emplace_back("numeric", found.numeric);
  return out;
}

}  // namespace polyscene::models
