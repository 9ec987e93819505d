#pragma once

#include "polyscene/models/wrapped.h"
#include "polyscene/transfer/fusion.h"

namespace polyscene::transfer {

/// Options for `Consolidated`.
struct ConsolidatedOptions {
  TORCH_ARG(double, strength) = 1;
  TORCH_ARG(bool, normalize) = true;
  TORCH_ARG(double, lr_scale) = 1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("strength", self.strength(), "weight of the penalty (lambda)");
    visit("normalize", self.normalize(), "whether the information is divided by its mean over all entries");
    visit("lr_scale", self.lr_scale(), "times the trainer's learning rate");
  }
};

/// A model that trains on without losing what mattered before (elastic weight consolidation: Kirkpatrick et al., PNAS
/// 2017):
///
///   loss = inner loss + strength / 2 sum_p F_p (theta_p - theta*_p)^2
///
/// F is the diagonal Fisher information where theta* was trained (`fisher`). Parameters that either lacks are free, as
/// are entries with F = 0, such as rows of tables that no row looked up.
class Consolidated : public models::Wrapped {
 public:
  /// Throws ValueError for options out of range, shapes that do not fit, information that is negative or not finite, or
  /// no parameter that both have.
  Consolidated(std::shared_ptr<models::Model> inner, const State& anchor, const State& importance,
               ConsolidatedOptions options = {});

  torch::Tensor loss(const data::Batch& batch) override;
  std::vector<models::Phase> phases() const override;

  /// sum_p F_p (theta_p - theta*_p)^2 / 2 at the present parameters, [].
  torch::Tensor penalty() const;
  /// Parameters that are free.
  const std::vector<std::string>& unmatched() const { return unmatched_; }

  ConsolidatedOptions options;

 private:
  struct Tie {
    torch::Tensor parameter, anchor, weight;
  };
  std::vector<Tie> ties_;
  std::vector<std::string> unmatched_;
};

}  // namespace polyscene::transfer
