#include "polyscene/models/single/field_model.h"

#include <algorithm>

namespace polyscene::models {

FieldModel::FieldModel(std::shared_ptr<const data::Schema> schema_, const FieldOptions& options, const char* owner,
                       FieldParts parts)
    : SceneModel(std::move(schema_),
                 SceneOptions()
                     .dim(options.dim())
                     .init_std(options.init_std())
                     .embedding_l2(options.embedding_l2())
                     .scene_field(options.scene_field()),
                 owner) {
  const auto numbers = schema().numeric_width();
  if (parts.numbers && numbers > 0) {
    numeric_embedding =
        register_parameter("numeric_embedding", torch::randn({numbers, common.dim()}) * common.init_std());
  }
  if (!parts.linear) return;
  first_order = register_module("first_order", nn::FeatureEmbedding(schema(), nn::FeatureEmbeddingOptions{1, 0}));
  if (common.scene_field()) scene_bias = register_parameter("scene_bias", torch::zeros({scenes()}));
  if (numbers > 0) numeric_weight = register_parameter("numeric_weight", torch::zeros({numbers}));
  base = register_parameter("base", torch::scalar_tensor(base_score(schema()), torch::kFloat32));
}

FieldModel::Linear FieldModel::linear(const Rows& rows) {
  const auto weights = first_order->forward(rows.batch).squeeze(2);  // [B, F]
  Linear out{base + weights.sum(1), {}};
  if (scene_bias.defined()) out.logits = out.logits + scene_bias.index_select(0, rows.batch.scene);
  if (numeric_weight.defined()) out.logits = out.logits + rows.batch.numeric.to(base.scalar_type()).mv(numeric_weight);
  if (common.embedding_l2() > 0) {
    out.penalty = weights.square().sum() * (0.25 * common.embedding_l2() / std::max<int64_t>(weights.size(0), 1));
  }
  return out;
}

torch::Tensor FieldModel::fields(const Rows& rows) const {
  if (!numeric_embedding.defined()) return rows.slots;
  const auto numbers = rows.batch.numeric.to(numeric_embedding.scalar_type());  // [B, M]
  return torch::cat({rows.slots, numbers.unsqueeze(2) * numeric_embedding}, 1);
}

}  // namespace polyscene::models
