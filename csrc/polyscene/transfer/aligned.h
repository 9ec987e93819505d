#pragma once

#include "polyscene/models/wrapped.h"
#include "polyscene/nn/mlp.h"
#include "polyscene/transfer/drawn.h"

namespace polyscene::transfer {

/// Options for `Aligned`.
struct AlignedOptions {
  TORCH_ARG(std::string, kind) = "dann";
  TORCH_ARG(double, strength) = 0.1;
  TORCH_ARG(int64_t, rows) = 256;
  TORCH_ARG(int64_t, ramp) = 1000;
  TORCH_ARG(double, gamma) = 10;
  TORCH_ARG(std::vector<int64_t>, discriminator) = {64, 64};
  TORCH_ARG(int64_t, seed) = 2022;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("kind", self.kind(), "dann: no discriminator can tell the scenes; mmd or coral: a distance between scenes");
    visit("strength", self.strength(), "weight of the alignment (lambda)");
    visit("rows", self.rows(), "rows drawn for it at each step, the same number from every scene");
    visit("ramp", self.ramp(), "steps until the gradient of dann is reversed in full");
    visit("gamma", self.gamma(), "how fast it gets there");
    visit("discriminator", self.discriminator(), "hidden widths of the discriminator of dann");
    visit("seed", self.seed(), "seed of the rows that are drawn");
  }
};

/// A model whose hidden layer h = `represent` is to look alike in all scenes:
///
///   loss = inner loss + strength A(h)   on rows drawn from a table, as many from each scene; labels are not looked at
///   dann:  mean cross-entropy of D(reversed(h)) and the scene      (Ganin and Lempitsky, ICML 2015)
///   mmd:   mean over pairs of scenes of the unbiased MMD^2         (Long et al., ICML 2015), nn::mmd
///   coral: mean over pairs of scenes                               (Sun and Saenko, ECCV 2016 workshops), nn::coral
///
/// D is an MLP over the scenes of the table. In step n of the training the gradient of h is that of A times
/// -(2 / (1 + exp(-gamma min(n / ramp, 1))) - 1), that of D is the plain one. Models that read the scene in front of h
/// can undo what is aligned; where shares of positive labels differ, aligning all rows can harm.
class Aligned : public models::Wrapped {
 public:
  /// Throws ValueError for options out of range, an empty table, rows of one scene alone, or a model that has no h.
  Aligned(std::shared_ptr<models::Model> inner, data::Table table, AlignedOptions options = {});

  torch::Tensor loss(const data::Batch& batch) override;
  /// A on the rows of step `number`, without the reversal, [].
  torch::Tensor alignment(int64_t number);
  /// Share of the rows of step `number` whose scene D tells, in evaluation mode. Throws ValueError unless dann.
  double accuracy(int64_t number);

  AlignedOptions options;
  nn::MLP discriminator = nullptr;  ///< empty unless dann
  torch::Tensor steps;              ///< int64 [], of the training so far; a buffer

 private:
  torch::Tensor aligned(const data::Batch& batch, double reversal);
  torch::Tensor places(const data::Batch& batch) const;  // of each row's scene among those of the table

  Drawn drawn_;
};

}  // namespace polyscene::transfer
