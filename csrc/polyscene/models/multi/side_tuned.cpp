#include "polyscene/models/multi/side_tuned.h"

#include "polyscene/core/json.h"
#include "polyscene/models/registry.h"

namespace polyscene::models {

SideTunedImpl::SideTunedImpl(std::shared_ptr<const data::Schema> schema, SideTunedOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  for (const auto* name : {"adapted", "side_tuned", "specialist"}) {
    TORCH_CHECK_VALUE(options.model() != name, "SideTuned: model must be a plain model, got '", name, "'");
  }
  const auto settings = option_map(parse_json(options.settings(), "SideTuned: settings"), "settings");
  base = register_module("base", create(options.model(), schema_, settings));
  side = register_module("side", create(options.model(), schema_, settings));
  gate = register_parameter("gate", torch::zeros({}));
  base->eval();
}

torch::Tensor SideTunedImpl::blend(const torch::Tensor& of_base, const torch::Tensor& of_side) const {
  // of_base + (1 - g) (of_side - of_base), so that equal parts give exactly themselves.
  return of_base + (1 - gate.sigmoid()) * (of_side - of_base);
}

torch::Tensor SideTunedImpl::forward(const data::Batch& batch) {
  check(batch);
  return blend(base->forward(batch), side->forward(batch));
}

torch::Tensor SideTunedImpl::score(const data::Batch& candidates, const data::Events& events,
                                   const torch::Tensor& owner) {
  return blend(base->score(candidates, events, owner), side->score(candidates, events, owner));
}

torch::Tensor SideTunedImpl::represent(const data::Batch& batch) {
  return torch::cat({base->represent(batch), side->represent(batch)}, 1);
}

Explanation SideTunedImpl::explain(const data::Batch& batch) {
  check(batch);
  return {
      {"base", base->forward(batch)}, {"side", side->forward(batch)}, {"gate", gate.sigmoid().expand({batch.size()})}};
}

void SideTunedImpl::prepare(const data::Table& train) {
  Model::prepare(train);
  base->prepare(train);
  side->prepare(train);
}

std::vector<Phase> SideTunedImpl::phases() const {
  Phase phase;
  phase.frozen = {"base"};
  return {phase};
}

std::vector<std::string> SideTunedImpl::table_parameters() const {
  std::vector<std::string> out;
  for (const auto& name : base->table_parameters()) out.push_back("base." + name);
  for (const auto& name : side->table_parameters()) out.push_back("side." + name);
  return out;
}

void SideTunedImpl::sparse_gradients(bool on) {
  base->sparse_gradients(on);
  side->sparse_gradients(on);
}

void SideTunedImpl::train(bool on) {
  Model::train(on);
  base->eval();
}

}  // namespace polyscene::models
