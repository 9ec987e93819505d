#include "polyscene/models/wrapped.h"

#include <algorithm>

#include "polyscene/core/errors.h"
#include "polyscene/core/named_tensors.h"

namespace polyscene::models {

bool is_below(const std::string& name, const std::string& prefix) {
  return name == prefix || name.starts_with(prefix + ".");
}

void check_prefixes(const char* owner, const char* option, const std::vector<std::string>& prefixes,
                    const std::vector<std::string>& names) {
  for (const auto& prefix : prefixes) {
    TORCH_CHECK_VALUE(std::any_of(names.begin(), names.end(), [&](const auto& name) { return is_below(name, prefix); }),
                      owner, ": ", option, " must be names or prefixes of parameters, got '", prefix,
                      "'; parameters: ", join(names), suggestion(prefix, names));
  }
}

Wrapped::Wrapped(std::shared_ptr<Model> inner) : Model(inner->schema_ptr()), inner_(std::move(inner)) {
  set_history(inner_->history());
  // The modules of the inner model themselves, so that optimisers and checkpoints see its names.
  for (const auto& child : inner_->named_children()) register_module(child.key(), child.value());
  for (const auto& entry : inner_->named_parameters(/*recurse=*/false))
    register_parameter(entry.key(), entry.value(), entry.value().requires_grad());
  for (const auto& entry : inner_->named_buffers(/*recurse=*/false)) register_buffer(entry.key(), entry.value());
}

std::vector<std::string> Wrapped::parameter_names() const {
  std::vector<std::string> out;
  for (const auto& item : named_tensors(*inner_)) {
    if (!item.is_buffer) out.push_back(item.name);
  }
  return out;
}

void Wrapped::freeze(const char* owner, const std::vector<std::string>& prefixes) {
  check_prefixes(owner, "frozen", prefixes, parameter_names());
  frozen_ = prefixes;
}

void Wrapped::prepare(const data::Table& train) {
  inner_->prepare(train);
  set_history(inner_->history());
}

std::vector<Phase> Wrapped::phases() const {
  auto out = inner_->phases();
  for (auto& phase : out) phase.frozen.insert(phase.frozen.end(), frozen_.begin(), frozen_.end());
  return out;
}

void Wrapped::train(bool on) {
  inner_->train(on);
  Model::train(on);
  if (!on) return;
  for (const auto& child : named_modules("", /*include_self=*/false)) {
    for (const auto& prefix : frozen_) {
      if (is_below(child.key(), prefix)) child.value()->eval();
    }
  }
}

}  // namespace polyscene::models
