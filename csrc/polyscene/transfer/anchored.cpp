#include "polyscene/transfer/anchored.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/core/named_tensors.h"
#include "polyscene/nn/losses.h"

namespace polyscene::transfer {

Anchored::Anchored(std::shared_ptr<models::Model> inner, const std::vector<State>& anchors, AnchoredOptions options_)
    : Wrapped(std::move(inner)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(std::isfinite(options.strength()) && options.strength() >= 0,
                    "Anchored: strength must be finite and not negative, got ", options.strength());
  TORCH_CHECK_VALUE(std::isfinite(options.lr_scale()) && options.lr_scale() > 0,
                    "Anchored: lr_scale must be positive, got ", options.lr_scale());
  TORCH_CHECK_VALUE(!anchors.empty(), "Anchored: there must be an anchor, got none");

  const torch::NoGradGuard no_grad;
  std::vector<std::string> known, all;
  for (const auto& item : named_tensors(*inner_)) {
    all.push_back(item.name);
    if (item.is_buffer) continue;
    known.push_back(item.name);
    std::vector<torch::Tensor> found;
    for (const auto& anchor : anchors) {
      if (const auto at = anchor.find(item.name); at != anchor.end()) found.push_back(at->second.detach());
    }
    if (found.empty()) {
      unmatched_.push_back(item.name);
      continue;
    }
    for (const auto& tensor : found) {
      TORCH_CHECK_VALUE(tensor.sizes() == item.tensor.sizes(), "Anchored: parameter '", item.name, "' is ",
                        item.tensor.sizes(), ", but an anchor has ", tensor.sizes());
    }
    auto mean = found.front().to(torch::kFloat64).clone();
    for (size_t i = 1; i < found.size(); ++i)
      mean += (found[i].to(torch::kFloat64) - mean) / static_cast<double>(i + 1);
    double spread = 0;
    for (const auto& tensor : found) spread += (tensor.to(torch::kFloat64) - mean).square().sum().item<double>();
    const auto entries = options.per_entry() ? static_cast<double>(std::max<int64_t>(mean.numel(), 1)) : 1.0;
    spread_ += spread / static_cast<double>(found.size()) / entries;
    anchor_.emplace_back(item.name, mean.to(item.tensor.scalar_type()));
  }
  TORCH_CHECK_VALUE(!anchor_.empty(), "Anchored: the anchors share no parameter with ", inner_->name(),
                    ", which has: ", join(known));
  for (const auto& anchor : anchors) {
    for (const auto& entry : anchor) {
      const bool held = std::find(all.begin(), all.end(), entry.first) != all.end();
      const bool listed = std::find(unused_.begin(), unused_.end(), entry.first) != unused_.end();
      if (!held && !listed) unused_.push_back(entry.first);
    }
  }
  freeze("Anchored", options.frozen());
  train(inner_->is_training());
}

torch::Tensor Anchored::migration_loss() const {
  nn::NamedTensors mine;
  for (const auto& item : named_tensors(*inner_)) {
    if (!item.is_buffer) mine.emplace_back(item.name, item.tensor);
  }
  return nn::migration_loss(mine, {anchor_}, options.per_entry()) + spread_;
}

torch::Tensor Anchored::loss(const data::Batch& batch) {
  const auto loss = inner_->loss(batch);
  return options.strength() > 0 ? loss + options.strength() * migration_loss() : loss;
}

std::vector<models::Phase> Anchored::phases() const {
  auto out = Wrapped::phases();
  for (auto& phase : out) phase.lr_scale *= options.lr_scale();
  return out;
}

}  // namespace polyscene::transfer
