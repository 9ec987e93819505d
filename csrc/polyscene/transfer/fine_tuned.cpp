#include "polyscene/transfer/fine_tuned.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/core/named_tensors.h"

namespace polyscene::transfer {
namespace {

bool contains(const std::vector<std::string>& all, const std::string& name) {
  return std::find(all.begin(), all.end(), name) != all.end();
}

// "layer0_weight" and "layer0_bias" belong to "layer0"; "" for what is no layer of a network.
std::string layer_of(const std::string& leaf) {
  const auto end = leaf.find('_');
  const auto head = leaf.substr(0, end);
  if (end == std::string::npos) return "";
  if (head == "output") return head;
  return std::isdigit(static_cast<unsigned char>(head.back())) ? head : "";
}

// What stands for the block of a parameter: its module, or the layer within it. "" for one of the model itself.
std::string block_of(const std::string& name) {
  const auto dot = name.rfind('.');
  const auto leaf = dot == std::string::npos ? name : name.substr(dot + 1);
  auto path = dot == std::string::npos ? std::string() : name.substr(0, dot);
  // The norm of a layer goes with it: "predictor.norms.0" with "predictor.linears.0".
  if (const auto at = path.find("norms."); at != std::string::npos) path.replace(at, 6, "linears.");
  const auto layer = layer_of(leaf);
  return layer.empty() ? path : path.empty() ? layer : path + "." + layer;
}

}  // namespace

std::vector<std::vector<std::string>> blocks_of(const models::Model& model) {
  const auto tables = model.table_parameters();
  std::vector<std::string> keys, bottom, top;
  std::vector<std::vector<std::string>> out;
  for (const auto& item : named_tensors(model)) {
    if (item.is_buffer) continue;
    if (contains(tables, item.name)) {
      bottom.push_back(item.name);
      continue;
    }
    const auto key = block_of(item.name);
    if (key.empty()) {
      top.push_back(item.name);
      continue;
    }
    const auto found = std::find(keys.begin(), keys.end(), key);
    if (found == keys.end()) {
      keys.push_back(key);
      out.push_back({item.name});
    } else {
      out[found - keys.begin()].push_back(item.name);
    }
  }
  if (out.empty() && !top.empty()) {
    out.push_back(std::move(top));
  } else if (!out.empty()) {
    out.back().insert(out.back().end(), top.begin(), top.end());
  }
  if (!bottom.empty()) out.insert(out.begin(), std::move(bottom));
  return out;
}

FineTuned::FineTuned(std::shared_ptr<models::Model> inner, FineTunedOptions options_)
    : Wrapped(std::move(inner)), options(std::move(options_)), blocks_(blocks_of(*inner_)) {
  const auto count = static_cast<int64_t>(blocks_.size());
  models::check_prefixes("FineTuned", "frozen", options.frozen(), parameter_names());
  TORCH_CHECK_VALUE(options.top() >= 0 && options.top() <= count, "FineTuned: top must be between 0 and ", count,
                    ", the blocks of ", inner_->name(), ", got ", options.top());
  TORCH_CHECK_VALUE(options.block_epochs() > 0, "FineTuned: block_epochs must be positive, got ",
                    options.block_epochs());
  TORCH_CHECK_VALUE(std::isfinite(options.decay()) && options.decay() > 0, "FineTuned: decay must be positive, got ",
                    options.decay());
  TORCH_CHECK_VALUE(std::isfinite(options.lr_scale()) && options.lr_scale() > 0,
                    "FineTuned: lr_scale must be positive, got ", options.lr_scale());
  TORCH_CHECK_VALUE(inner_->phases().size() == 1, "FineTuned: ", inner_->name(),
                    " trains in phases of its own, which say what is frozen when");
  const auto most = static_cast<size_t>(options.top() > 0 ? options.top() : count);
  TORCH_CHECK_VALUE(frozen_with(most).size() < parameter_names().size(),
                    "FineTuned: everything is frozen; parameters: ", join(parameter_names()));
  if (options.reset_head()) {
    const torch::NoGradGuard no_grad;
    for (const auto& item : named_tensors(*inner_)) {
      if (item.is_buffer || !contains(blocks_.back(), item.name) || block_of(item.name).empty()) continue;
      auto tensor = item.tensor;
      const auto bound = tensor.dim() > 1 ? 1 / std::sqrt(static_cast<double>(tensor.size(-1))) : 0.0;
      tensor.uniform_(-bound, bound);
    }
  }
  hold(frozen_with(options.gradual() ? 1 : most));
  FineTuned::train(inner_->is_training());
}

std::vector<std::string> FineTuned::frozen_with(size_t open) const {
  std::vector<std::string> out;
  for (size_t block = 0; block < blocks_.size(); ++block) {
    for (const auto& name : blocks_[block]) {
      const bool closed = block + open < blocks_.size();
      const auto never = [&](const auto& prefix) { return models::is_below(name, prefix); };
      if (closed || std::any_of(options.frozen().begin(), options.frozen().end(), never)) out.push_back(name);
    }
  }
  return out;
}

// Modules that stay in evaluation mode while `frozen` is, and the statistics of frozen layers in modules that do not.
void FineTuned::hold(const std::vector<std::string>& frozen) {
  still_.clear();
  statistics_.clear();
  std::vector<std::string> of_layers;
  for (const auto& name : frozen) of_layers.push_back(block_of(name));
  for (const auto& child : named_modules("", /*include_self=*/false)) {
    bool any = false, all = true;
    for (const auto& entry : child.value()->named_parameters()) {
      any = true;
      all = all && contains(frozen, child.key() + "." + entry.key());
    }
    if (any && all) still_.push_back(child.value());
  }
  for (const auto& item : named_tensors(*inner_)) {
    if (item.is_buffer && contains(of_layers, block_of(item.name)) && !block_of(item.name).empty() &&
        item.name.find("running_") != std::string::npos)
      statistics_.emplace_back(item.tensor, item.tensor.detach().clone());
  }
}

std::vector<models::Phase> FineTuned::phases() const {
  const auto most = static_cast<size_t>(options.top() > 0 ? options.top() : static_cast<int64_t>(blocks_.size()));
  const auto whole = inner_->phases().front();
  std::vector<models::Phase> out;
  for (size_t open = options.gradual() ? 1 : most; open <= most; ++open) {
    auto phase = whole;
    phase.lr_scale *= options.lr_scale();
    if (options.gradual()) phase.name = "top " + std::to_string(open);
    if (open < most) {
      phase.epochs = options.block_epochs();
      phase.patience = 0;
    }
    const auto frozen = frozen_with(open);
    phase.frozen.insert(phase.frozen.end(), frozen.begin(), frozen.end());
    for (size_t block = 0; block < blocks_.size() && options.decay() != 1; ++block) {
      const auto scale = std::pow(options.decay(), -static_cast<double>(blocks_.size() - 1 - block));
      for (const auto& name : blocks_[block]) {
        const auto held = [&](const auto& prefix) { return models::is_below(name, prefix); };
        if (std::none_of(phase.frozen.begin(), phase.frozen.end(), held)) phase.lr_scales.emplace_back(name, scale);
      }
    }
    // A phase in which nothing moves, because all of its top block is frozen for good, is none.
    if (frozen.size() < parameter_names().size()) out.push_back(std::move(phase));
  }
  return out;
}

void FineTuned::begin_phase(const models::Phase& phase) {
  inner_->begin_phase(phase);
  hold(phase.frozen);
  train(is_training());
}

void FineTuned::train(bool on) {
  Wrapped::train(on);
  if (!on) return;
  for (const auto& module : still_) module->eval();
}

torch::Tensor FineTuned::loss(const data::Batch& batch) {
  const auto out = inner_->loss(batch);
  const torch::NoGradGuard no_grad;
  for (auto& [now, before] : statistics_) now.copy_(before);
  return out;
}

}  // namespace polyscene::transfer
