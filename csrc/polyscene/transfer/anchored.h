#pragma once

#include <memory>
#include <string>
#include <vector>

#include "polyscene/models/wrapped.h"
#include "polyscene/transfer/fusion.h"

namespace polyscene::transfer {

/// Options for `Anchored`.
struct AnchoredOptions {
  TORCH_ARG(double, strength) = 1e-2;
  TORCH_ARG(bool, per_entry) = false;
  TORCH_ARG(std::vector<std::string>, frozen) = {};
  TORCH_ARG(double, lr_scale) = 1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("strength", self.strength(), "weight of the migration loss");
    visit("per_entry", self.per_entry(), "whether the distance of each parameter is divided by its number of entries");
    visit("frozen", self.frozen(), "names or dotted prefixes of parameters that do not move");
    visit("lr_scale", self.lr_scale(), "times the trainer's learning rate");
  }
};

/// A model that trains on while it is tied to what was migrated:
///
///   loss = inner loss + strength L_migration,   L_migration = 1/k sum_i sum_l ||theta_l - theta*_il||^2 / n_l
///
/// (L2-SP: Li, Grandvalet and Davoine, ICML 2018). theta*_i are the anchors, n_l is 1 unless `per_entry`. Anchors are
/// matched by name; parameters without an anchor are free. The k anchors are held as their mean and their spread around
/// it, which gives the same loss and gradient: an entry that stands at the mean has gradient 0, so that lazy optimisers
/// leave untouched rows of tables alone. Frozen parts stay in evaluation mode.
///
/// Everything but the loss is that of the inner model, whose parameters it shares under the same names.
class Anchored : public models::Wrapped {
 public:
  /// Throws ValueError for a negative strength, an anchor of another shape, no name in common, or a frozen prefix that
  /// no parameter has.
  Anchored(std::shared_ptr<models::Model> inner, const std::vector<State>& anchors, AnchoredOptions options = {});

  torch::Tensor loss(const data::Batch& batch) override;
  std::vector<models::Phase> phases() const override;

  /// L_migration at the present parameters, [].
  torch::Tensor migration_loss() const;
  /// Parameters of the inner model without an anchor.
  const std::vector<std::string>& unmatched() const { return unmatched_; }
  /// Names of the anchors that the inner model has no parameter for; buffers are not counted.
  const std::vector<std::string>& unused() const { return unused_; }

  AnchoredOptions options;

 private:
  std::vector<std::pair<std::string, torch::Tensor>> anchor_;  // mean of the anchors
  double spread_ = 0;                                          // 1/k sum_i ||theta*_i - mean||^2
  std::vector<std::string> unmatched_, unused_;
};

}  // namespace polyscene::transfer
