#include "polyscene/models/multi/adapted.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/json.h"
#include "polyscene/core/named_tensors.h"
#include "polyscene/models/registry.h"
#include "polyscene/models/wrapped.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/mlp.h"
#include "polyscene/nn/scene_linear.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {
namespace {

constexpr const char* kAdapted = "Adapted";

bool of_norm(const std::string& name) {
  const auto leaf = name.substr(name.rfind('.') + 1);
  return leaf.ends_with("_scale") || leaf.ends_with("_shift") || name.find(".norms.") != std::string::npos;
}

}  // namespace

AdaptedImpl::AdaptedImpl(std::shared_ptr<const data::Schema> schema, AdaptedOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  nn::check_positive(kAdapted, "bottleneck", options.bottleneck());
  nn::check_activation(kAdapted, options.activation());
  for (const auto* name : {"adapted", "side_tuned", "specialist"}) {
    TORCH_CHECK_VALUE(options.model() != name, kAdapted, ": model must be a plain model, got '", name, "'");
  }
  const auto settings = option_map(parse_json(options.settings(), "Adapted: settings"), "settings");
  base = register_module("base", create(options.model(), schema_, settings));
  std::vector<std::string> names;
  for (const auto& item : named_tensors(*base)) {
    if (!item.is_buffer) names.push_back(item.name);
  }
  check_prefixes(kAdapted, "trained", options.trained(), names);
  for (const auto& child : base->named_modules("", /*include_self=*/false)) {
    if (const auto* network = child.value()->as<nn::SceneMLPImpl>())
      add(child.key(), *network, network->options.hidden(), network->experts);
    if (const auto* network = child.value()->as<nn::MLPImpl>())
      add(child.key(), *network, network->options.hidden(), 1);
  }
  TORCH_CHECK_VALUE(!adapters_.empty(), kAdapted, ": ", options.model(),
                    " has no hidden layers to put adapters behind; low-rank adaptation works for every model");
  base->eval();
}

void AdaptedImpl::add(const std::string& path, const torch::nn::Module& network, const std::vector<int64_t>& widths,
                      int64_t experts) {
  if (widths.empty()) return;
  auto leaf = path;
  std::replace(leaf.begin(), leaf.end(), '.', '_');
  const auto holder = register_module("adapter_" + leaf, std::make_shared<torch::nn::Module>("Adapter"));
  const auto s = options.by_scene() ? schema().num_scenes() : 1, r = options.bottleneck();
  for (int64_t layer = 0; layer < static_cast<int64_t>(widths.size()); ++layer) {
    const auto h = widths[layer];
    const auto bound = 1 / std::sqrt(static_cast<double>(h));
    const auto name = "layer" + std::to_string(layer);
    adapters_.push_back(
        {&network, layer,
         holder->register_parameter(name + "_down", torch::empty({s, experts, r, h}).uniform_(-bound, bound)),
         holder->register_parameter(name + "_down_bias", torch::zeros({s, experts, r})),
         holder->register_parameter(name + "_up", torch::zeros({s, experts, h, r})),
         holder->register_parameter(name + "_up_bias", torch::zeros({s, experts, h}))});
  }
}

torch::Tensor AdaptedImpl::Pass::hidden(const torch::nn::Module& network, int64_t layer, const torch::Tensor& h) {
  const auto& all = model_.adapters_;
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& adapter) {
    return adapter.network == &network && adapter.layer == layer;
  });
  if (found == all.end()) return h;
  const auto experts = found->down.size(1), width = found->down.size(3);
  const auto rows = h.reshape({-1, experts, width});  // [B or B T, E, H]
  auto groups = model_.options.by_scene() ? groups_ : nn::SceneGroups::all(rows.size(0));
  if (model_.options.by_scene()) {
    // Where there are several vectors to a row, such as those of its events, they lie next to one another.
    TORCH_CHECK_VALUE(groups_.rows() > 0 ? rows.size(0) % groups_.rows() == 0 : rows.size(0) == 0, kAdapted, ": ",
                      model_.options.model(), " has a hidden layer that is not one of rows; use by_scene=False");
    const auto each = groups_.rows() > 0 ? rows.size(0) / groups_.rows() : 1;
    for (auto& offset : groups.offsets) offset *= each;
  }
  const auto low = nn::activate(model_.options.activation(),
                                nn::scene_linear(rows, found->down, found->down_bias, groups));  // [B, E, r]
  return h + nn::scene_linear(low, found->up, found->up_bias, groups).view(h.sizes());
}

torch::Tensor AdaptedImpl::forward(const data::Batch& batch) {
  check(batch);
  const auto grouped = nn::group(batch, schema().num_scenes());
  Pass pass(*this, grouped.groups);
  return grouped.ungroup(base->forward(grouped.batch));
}

torch::Tensor AdaptedImpl::score(const data::Batch& candidates, const data::Events& events,
                                 const torch::Tensor& owner) {
  const auto grouped = nn::group(candidates, schema().num_scenes());
  Pass pass(*this, grouped.groups);
  const auto whose = grouped.back.defined() ? owner.index_select(0, grouped.back.argsort()) : owner;
  return grouped.ungroup(base->score(grouped.batch, events, whose));
}

torch::Tensor AdaptedImpl::loss(const data::Batch& batch) {
  check(batch);
  const auto grouped = nn::group(batch, schema().num_scenes());
  Pass pass(*this, grouped.groups);
  return base->loss(grouped.batch);
}

torch::Tensor AdaptedImpl::represent(const data::Batch& batch) {
  check(batch);
  const auto grouped = nn::group(batch, schema().num_scenes());
  Pass pass(*this, grouped.groups);
  return grouped.ungroup(base->represent(grouped.batch));
}

Explanation AdaptedImpl::explain(const data::Batch& batch) {
  check(batch);
  const auto grouped = nn::group(batch, schema().num_scenes());
  Pass pass(*this, grouped.groups);
  auto out = base->explain(grouped.batch);
  for (auto& [name, value] : out) {
    if (value.dim() > 0 && value.size(0) == batch.size()) value = grouped.ungroup(value);
  }
  return out;
}

void AdaptedImpl::prepare(const data::Table& train) {
  Model::prepare(train);
  base->prepare(train);
}

std::vector<std::string> AdaptedImpl::frozen() const {
  std::vector<std::string> out;
  for (const auto& item : named_tensors(*base)) {
    if (item.is_buffer || (options.norms() && of_norm(item.name))) continue;
    const auto& kept = options.trained();
    if (std::any_of(kept.begin(), kept.end(), [&](const auto& x) { return is_below(item.name, x); })) continue;
    out.push_back("base." + item.name);
  }
  return out;
}

std::vector<Phase> AdaptedImpl::phases() const {
  Phase phase;
  phase.frozen = frozen();
  return {phase};
}

std::vector<std::string> AdaptedImpl::table_parameters() const {
  std::vector<std::string> out;
  for (const auto& name : base->table_parameters()) out.push_back("base." + name);
  return out;
}

void AdaptedImpl::train(bool on) {
  Model::train(on);
  base->eval();
}

}  // namespace polyscene::models
