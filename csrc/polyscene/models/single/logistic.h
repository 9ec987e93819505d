#pragma once

#include "polyscene/models/base.h"

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

/// Logistic regression on one-hot fields, the scene and numeric columns: the linear baseline of click-through rate.
///
///   logit = b + t[scene] + sum_f w_f[x_f] + v . z
///
/// Shapes: B batch, F fields, M numeric columns. All weights start at 0, b at the log-odds of the training labels.
class LogisticImpl : public Model {
 public:
  explicit LogisticImpl(std::shared_ptr<const data::Schema> schema, LogisticOptions options = {});
  /// Returns one logit per row, [B].
  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor loss(const data::Batch& batch) override;
  /// "fields" [B, F + 1]: what each field, and last the scene, adds to the logit; "numeric" [B, M] likewise.
  Explanation explain(const data::Batch& batch) override;
  std::string name() const override { return "logistic"; }
  OptionMap options_map() const override { return to_map(options); }

  LogisticOptions options;
  torch::nn::Embedding table = nullptr;  ///< weights of all fields, then of the scenes, [rows, 1]
  torch::Tensor offsets;                 ///< first row of each field and of the scenes, int64 [F + 1]
  torch::Tensor numeric;                 ///< weights of the numeric columns, [M]; undefined when M is 0
  torch::Tensor bias;                    ///< []

 private:
  torch::Tensor looked_up(const data::Batch& batch);                                  // [B, F + 1]
  torch::Tensor logits(const torch::Tensor& looked_up, const data::Batch& batch) const;  // [B]
};
TORCH_MODULE(Logistic);

}  // namespace polyscene::models
