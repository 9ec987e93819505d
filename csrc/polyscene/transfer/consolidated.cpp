#include "polyscene/transfer/consolidated.h"

#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/core/named_tensors.h"

namespace polyscene::transfer {

Consolidated::Consolidated(std::shared_ptr<models::Model> inner, const State& anchor, const State& importance,
                           ConsolidatedOptions options_)
    : Wrapped(std::move(inner)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(std::isfinite(options.strength()) && options.strength() >= 0,
                    "Consolidated: strength must be finite and not negative, got ", options.strength());
  TORCH_CHECK_VALUE(std::isfinite(options.lr_scale()) && options.lr_scale() > 0,
                    "Consolidated: lr_scale must be positive, got ", options.lr_scale());
  const torch::NoGradGuard no_grad;
  double sum = 0, entries = 0;
  for (const auto& item : named_tensors(*inner_)) {
    if (item.is_buffer) continue;
    const auto from = anchor.find(item.name), weight = importance.find(item.name);
    if (from == anchor.end() || weight == importance.end()) {
      unmatched_.push_back(item.name);
      continue;
    }
    for (const auto& [what, given] : {std::pair{"the anchor", from->second}, {"the information", weight->second}}) {
      TORCH_CHECK_VALUE(given.sizes() == item.tensor.sizes(), "Consolidated: parameter '", item.name, "' is ",
                        item.tensor.sizes(), ", but ", what, " has ", given.sizes());
    }
    const auto f = weight->second.to(item.tensor.scalar_type());
    TORCH_CHECK_VALUE((f.isfinite().logical_and(f >= 0)).all().item<bool>(), "Consolidated: information of '",
                      item.name, "' must be finite and not negative");
    sum += f.to(torch::kFloat64).sum().item<double>();
    entries += static_cast<double>(f.numel());
    ties_.push_back({item.tensor, from->second.to(item.tensor.scalar_type()).clone(), f.clone()});
  }
  TORCH_CHECK_VALUE(!ties_.empty(), "Consolidated: anchor and information share no parameter with ", inner_->name(),
                    ", which has: ", join(parameter_names()));
  if (!options.normalize() || sum == 0) return;
  for (auto& tie : ties_) tie.weight.mul_(entries / sum);
}

torch::Tensor Consolidated::penalty() const {
  auto out = torch::zeros({}, ties_.front().parameter.options().requires_grad(false));
  for (const auto& tie : ties_) {
    const auto by = tie.weight.to(tie.parameter.scalar_type()), at = tie.anchor.to(tie.parameter.scalar_type());
    out = out + 0.5 * (by * (tie.parameter - at).square()).sum();
  }
  return out;
}

torch::Tensor Consolidated::loss(const data::Batch& batch) {
  const auto loss = inner_->loss(batch);
  return options.strength() > 0 ? loss + options.strength() * penalty() : loss;
}

std::vector<models::Phase> Consolidated::phases() const {
  auto out = Wrapped::phases();
  for (auto& phase : out) phase.lr_scale *= options.lr_scale();
  return out;
}

}  // namespace polyscene::transfer
