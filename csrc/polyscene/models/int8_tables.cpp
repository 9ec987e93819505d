#include "polyscene/models/int8_tables.h"

#include <algorithm>

#include "polyscene/core/named_tensors.h"
#include "polyscene/models/interest/scene_branch.h"
#include "polyscene/models/single/mf.h"
#include "polyscene/nn/event_pool.h"
#include "polyscene/nn/feature_embedding.h"
#include "polyscene/nn/int8_rows.h"

namespace polyscene::models {
namespace {

bool is_packed(const NamedTensor& entry) { return !entry.is_buffer && entry.tensor.scalar_type() == torch::kInt8; }

}  // namespace

std::vector<std::string> int8_tables(const Model& model) {
  std::vector<std::string> names;
  for (const auto& child : model.named_modules("", /*include_self=*/true)) {
    const auto prefix = child.key().empty() ? "" : child.key() + ".";
    if (child.value()->as<nn::FeatureEmbeddingImpl>()) names.push_back(prefix + "weight");
    if (child.value()->as<nn::EventPoolImpl>()) names.push_back(prefix + "item.weight");
    if (child.value()->as<MFImpl>()) names.insert(names.end(), {prefix + "user.weight", prefix + "item.weight"});
    if (child.value()->as<SceneBranchImpl>()) names.push_back(prefix + "event_item.weight");
  }
  std::vector<std::string> out;
  for (const auto& entry : named_tensors(model)) {
    const bool wide = entry.tensor.dim() == 2 && entry.tensor.size(1) >= kNarrowestInt8;
    if (wide && std::find(names.begin(), names.end(), entry.name) != names.end()) out.push_back(entry.name);
  }
  return out;
}

bool is_quantized(const Model& model) {
  const auto tensors = named_tensors(model);
  return std::any_of(tensors.begin(), tensors.end(), is_packed);
}

void expect_int8(Model& model, const std::map<std::string, torch::Tensor>& state) {
  const auto names = int8_tables(model);
  bool any = false;
  for (const auto& entry : named_tensors(model)) {
    const auto found = state.find(entry.name);
    if (found == state.end() || found->second.scalar_type() != torch::kInt8 ||
        std::find(names.begin(), names.end(), entry.name) == names.end()) {
      continue;
    }
    auto table = entry.tensor;
    if (found->second.sizes() != torch::IntArrayRef({table.size(0), table.size(1) + nn::kScaleBytes})) continue;
    table.set_requires_grad(false);
    table.set_data(torch::empty_like(found->second));
    any = true;
  }
  if (!any) return;
  for (auto& parameter : model.parameters()) parameter.set_requires_grad(false);
}

}  // namespace polyscene::models
