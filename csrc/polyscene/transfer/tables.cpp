#include "polyscene/transfer/tables.h"

#include "polyscene/nn/feature_embedding.h"

namespace polyscene::transfer {
namespace {

std::vector<FieldRange> fused_fields(const nn::FeatureEmbeddingImpl& table, const data::Schema& schema) {
  std::vector<FieldRange> out;
  for (int64_t f = 0; f < table.rows.size(); ++f) {
    const auto& name = table.rows.names[f];
    out.push_back({name, table.rows.offsets[f], table.rows.rows(f), f >= schema.num_fields()});
  }
  return out;
}

// The column of users or items goes by its role as well.
bool named_after(const std::string& leaf, int64_t field, const data::Schema& schema) {
  if (leaf.starts_with(schema.categorical[field].name)) return true;
  return (field == schema.user && leaf.starts_with("user")) || (field == schema.item && leaf.starts_with("item"));
}

std::vector<FieldRange> plain_field(const std::string& path, int64_t rows, const data::Schema& schema) {
  const auto leaf = path.substr(path.rfind('.') + 1);
  for (const auto& list : schema.lists) {
    if (list.kind == "text" && leaf == "words" && list.rows() == rows) return {{list.name, 0, rows, true}};
  }
  std::vector<int64_t> fitting, named;
  for (int64_t f = 0; f < schema.num_fields(); ++f) {
    if (schema.categorical[f].rows() != rows) continue;
    fitting.push_back(f);
    if (named_after(leaf, f, schema)) named.push_back(f);
  }
  const auto& chosen = fitting.size() == 1 ? fitting : named;
  if (chosen.size() != 1) return {};
  return {{schema.categorical[chosen.front()].name, 0, rows, false}};
}

}  // namespace

std::vector<TableLayout> layouts(const models::Model& model) {
  std::vector<TableLayout> out;
  for (const auto& parameter : model.table_parameters()) out.push_back({parameter, {}});
  for (const auto& child : model.named_modules("", /*include_self=*/false)) {
    for (auto& layout : out) {
      if (layout.parameter != child.key() + ".weight") continue;
      if (const auto* fused = child.value()->as<nn::FeatureEmbeddingImpl>())
        layout.fields = fused_fields(*fused, model.schema());
      if (const auto* plain = child.value()->as<torch::nn::EmbeddingImpl>())
        layout.fields = plain_field(child.key(), plain->weight.size(0), model.schema());
    }
  }
  return out;
}

}  // namespace polyscene::transfer
