#pragma once

#include <memory>
#include <string>
#include <vector>

#include "polyscene/models/wrapped.h"
#include "polyscene/transfer/fusion.h"

namespace polyscene::transfer {

/// Options for `LowRank`.
struct LowRankOptions {
  TORCH_ARG(int64_t, rank) = 4;
  TORCH_ARG(double, alpha) = 4;
  TORCH_ARG(double, dropout) = 0;
  TORCH_ARG(std::vector<std::string>, parameters) = {};
  TORCH_ARG(std::vector<std::string>, trained) = {};
  TORCH_ARG(double, lr_scale) = 1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("rank", self.rank(), "rank of what is added to each matrix (r)");
    visit("alpha", self.alpha(), "what is added is scaled by alpha / rank");
    visit("dropout", self.dropout(), "dropout of the inputs of what is added to each matrix, in training");
    visit("parameters", self.parameters(),
          "names or prefixes of the matrices and tables, empty: all; a prefix means those where it saves entries");
    visit("trained", self.trained(), "names or prefixes of parameters that train in full instead");
    visit("lr_scale", self.lr_scale(), "times the trainer's learning rate");
  }
};

/// Low-rank adaptation (LoRA: Hu et al., ICLR 2022): each chosen matrix W of a model, frozen, becomes
///
///   W' = W + alpha / r  U D,      U [m, r] = 0,  D [r, n]
///
/// and U and D train. Stacks of matrices (those of scenes and experts, [..., m, n]) have a pair each. D starts in
/// U(-1/sqrt(n), 1/sqrt(n)), for lookup tables at N(0, 1), so that the model starts as it is. It is a reparametrisation
/// of tensors by name and not a layer, so that it works for any model, whatever kernels read the matrix. Rows of ids
/// that are new should train in full (`trained`), not by U D.
///
/// `dropout` p drops inputs of the added path in training: D diag(m) in the place of D, each m_j 0 with probability p,
/// else 1 / (1 - p). A layer would draw for each row; here a pass draws once for all its rows, so that each row sees
/// what the paper's does, and rows of a pass alike. Tables, whose input is an id, have none. A pass that drops must be
/// followed by its backward before the next one.
///
/// The matrices of the inner model hold W' from now on. They are rebuilt in front of a pass when U or D moved; their
/// gradient goes to U and D alone, dU = alpha / r G D', dD = alpha / r U' G, sparse in U where lookups are. All other
/// parameters of the inner model are frozen, without a gradient; frozen parts stay in evaluation mode.
class LowRank : public models::Wrapped {
 public:
  /// Throws ValueError for options out of range, unknown prefixes, parameters that are no floating matrices, or none.
  LowRank(std::shared_ptr<models::Model> inner, LowRankOptions options = {});
  ~LowRank() override;

  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner) override;
  torch::Tensor loss(const data::Batch& batch) override;
  torch::Tensor represent(const data::Batch& batch) override;
  models::Explanation explain(const data::Batch& batch) override;
  void encode() override;
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  torch::Tensor transition_matrix(int64_t from, int64_t to) override;
  std::vector<models::Phase> phases() const override;
  std::vector<std::string> table_parameters() const override;
  void train(bool on = true) override;

  /// Parameters and buffers of the inner model with W' in the place of W, copies.
  State merged();
  /// The same with W.
  State base() const;
  /// Makes plain tensors of the matrices, as they are between passes; a pass whose backward is to come is lost.
  void release();
  /// Names of the matrices.
  std::vector<std::string> matrices() const;

  LowRankOptions options;

 private:
  struct Site {
    std::string name;
    torch::Tensor weight;    // of the inner model: W'
    torch::Tensor base;      // W
    torch::Tensor up, down;  // U [..., m, r], D [..., r, n]
    int64_t up_version = -1, down_version = -1;
    bool table = false;
    torch::Tensor kept;  // what D is multiplied with by dropout in the pass at hand, [..., 1, n], or undefined
    torch::Tensor product(double scale) const;
    torch::Tensor dropped() const { return kept.defined() ? down * kept : down; }
  };

  double scale() const { return options.alpha() / static_cast<double>(options.rank()); }
  void rebuild(bool anew = false, bool drops = false);
  void attach();

  std::vector<Site> sites_;
};

}  // namespace polyscene::transfer
