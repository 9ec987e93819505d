#pragma once

#include "polyscene/models/base.h"
#include "polyscene/nn/feature_embedding.h"

namespace polyscene::models {

/// Options for `Logistic`.
struct LogisticOptions {
  /// L2 penalty on the weights that a batch looks up.
  TORCH_ARG(double, embedding_l2) = 0;

 public:
  /// Names every field once; bindings, repr and checkpoints walk this list.
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("embedding_l2", self.embedding_l2(), "L2 penalty on the weights that a batch looks up");
  }
};

/// Logistic regression on one-hot and multi-hot fields, the scene and numeric columns: the linear baseline of ctr.
///
///   logit = b + t[scene] + sum_f w_f[x_f] + sum_l mean_{j in x_l} w_l[j] + v . z
///
/// Shapes: B batch, F fields, L multi-hot columns, M numeric columns, S scenes. All weights start at 0, b at the
/// log-odds of the training labels.
class LogisticImpl : public Model {
 public:
  explicit LogisticImpl(std::shared_ptr<const data::Schema> schema, LogisticOptions options = {});
  /// Returns one logit per row, [B].
  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor loss(const data::Batch& batch) override;
  /// What the parts add to the logit: "fields" [B, F + L], "scene" [B], "numeric" [B, M].
  Explanation explain(const data::Batch& batch) override;
  std::string name() const override { return "logistic"; }
  OptionMap options_map() const override { return to_map(options); }

  LogisticOptions options;
  nn::FeatureEmbedding fields = nullptr;  ///< w, tables of width 1
  torch::Tensor scene;                    ///< t, [S]
  torch::Tensor numeric;                  ///< v, [M]; undefined when M is 0
  torch::Tensor bias;                     ///< b, []

 private:
  struct Parts {
    torch::Tensor fields;   // [B, F + L]
    torch::Tensor scene;    // [B]
    torch::Tensor numeric;  // [B, M]; undefined when M is 0
  };
  Parts parts(const data::Batch& batch);
  torch::Tensor logits(const Parts& parts) const;  // [B]
};
TORCH_MODULE(Logistic);

}  // namespace polyscene::models
