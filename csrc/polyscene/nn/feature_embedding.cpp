#include "polyscene/nn/feature_embedding.h"

#include <algorithm>

#include "polyscene/core/errors.h"

namespace polyscene::nn {

FeatureEmbeddingImpl::FeatureEmbeddingImpl(const data::Schema& schema, FeatureEmbeddingOptions options_)
    : options(options_), num_fields(schema.num_fields()), numeric_width(schema.numeric_width()) {
  TORCH_CHECK_VALUE(options.dim > 0, "FeatureEmbedding: dim must be positive, got ", options.dim);
  TORCH_CHECK_VALUE(options.init_std >= 0, "FeatureEmbedding: init_std must be >= 0, got ", options.init_std);
  for (const auto& field : schema.categorical) rows.add(field.name, field.rows());
  fields_ = rows;
  for (const auto& list : schema.lists) {
    if (list.kind != "multi_hot") continue;
    if (list.shares.empty()) {
      rows.add(list.name, list.rows());
    } else {
      schema.field(list.shares);  // throws for an unknown one
    }
    lists.emplace_back(list.name, list.shares.empty() ? list.name : list.shares);
  }
  reset();
}

void FeatureEmbeddingImpl::reset() {
  weight = register_parameter("weight", torch::empty({rows.total(), options.dim}));
  reset_parameters();
}

void FeatureEmbeddingImpl::reset_parameters() {
  torch::NoGradGuard no_grad;
  weight.normal_(0, options.init_std);
  for (int64_t f = 0; f < rows.size(); ++f) {
    weight.narrow(0, rows.offsets[f], std::min(rows.rows(f), data::kFirstId)).zero_();
  }
}

torch::Tensor FeatureEmbeddingImpl::forward(const data::Batch& batch) {
  const auto fields = lookup(weight, batch.categorical, fields_, options.sparse);  // [B, F, D]
  if (lists.empty()) return fields;
  std::vector<torch::Tensor> slots = {fields};
  for (const auto& [name, owner] : lists) {
    const auto found = batch.sequence.find(name);
    TORCH_CHECK_VALUE(found != batch.sequence.end(), "FeatureEmbedding: the batch has no list column '", name, "'");
    slots.push_back(pool(owner, found->second).unsqueeze(1));  // [B, 1, D]
  }
  return torch::cat(slots, 1);  // [B, F + L, D]
}

torch::Tensor FeatureEmbeddingImpl::flat(const data::Batch& batch) {
  if (numeric_width == 0) return forward(batch).flatten(1);  // [B, (F + L) D]
  TORCH_CHECK_VALUE(batch.numeric.defined() && batch.numeric.dim() == 2 && batch.numeric.size(1) == numeric_width,
                    "FeatureEmbedding: the batch must carry ", numeric_width, " numeric columns");
  if (lists.empty() && weight.is_floating_point()) {
    return lookup_flat(weight, batch.categorical, fields_, batch.numeric.to(weight.scalar_type()), options.sparse);
  }
  const auto slots = forward(batch).flatten(1);
  return torch::cat({slots, batch.numeric.to(slots.scalar_type())}, 1);
}

torch::Tensor FeatureEmbeddingImpl::embed(const std::string& field, const torch::Tensor& index) {
  const auto f = index_of(field);
  const FieldRows one{{field}, {rows.offsets[f], rows.offsets[f + 1]}};
  auto shape = index.sizes().vec();
  shape.push_back(options.dim);
  return lookup(weight, index.reshape({-1, 1}), one, options.sparse).view(shape);
}

torch::Tensor FeatureEmbeddingImpl::pool(const std::string& field, const data::Ragged& lists) {
  const auto found = embed(field, lists.values);  // [total, D]
  return at::segment_reduce(found, "mean", /*lengths=*/{}, /*indices=*/{}, lists.offsets, /*axis=*/0, /*unsafe=*/true,
                            /*initial=*/0);  // [lists, D]
}

torch::Tensor FeatureEmbeddingImpl::field_rows(const std::string& name) const {
  const auto f = index_of(name);
  return weight.narrow(0, rows.offsets[f], rows.rows(f));
}

int64_t FeatureEmbeddingImpl::offset(const std::string& name) const { return rows.offsets[index_of(name)]; }

int64_t FeatureEmbeddingImpl::index_of(const std::string& name) const {
  const auto found = std::find(rows.names.begin(), rows.names.end(), name);
  TORCH_CHECK_VALUE(found != rows.names.end(), "FeatureEmbedding: unknown field '", name,
                    "'; known fields: ", join(rows.names), suggestion(name, rows.names));
  return found - rows.names.begin();
}

}  // namespace polyscene::nn
