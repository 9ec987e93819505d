#pragma once

#include "polyscene/models/base.h"
#include "polyscene/nn/event_pool.h"

namespace polyscene::models {

/// Options for `MF`.
struct MFOptions {
  /// Width of the factors (D).
  TORCH_ARG(int64_t, dim) = 32;
  /// Standard deviation of the initial factors.
  TORCH_ARG(double, init_std) = 0.01;
  /// L2 penalty on the factors that a batch looks up; half of it on their biases.
  TORCH_ARG(double, embedding_l2) = 0.05;
  /// How many past events of a user join the user's factors, the newest; 0: none.
  TORCH_ARG(int64_t, history) = 0;

 public:
  /// Names every field once; bindings, repr and checkpoints walk this list.
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim(), "width of the factors");
    visit("init_std", self.init_std(), "standard deviation of the initial factors");
    visit("embedding_l2", self.embedding_l2(),
          "L2 penalty on the factors that a batch looks up; half of it on their biases");
    visit("history", self.history(), "how many past events of a user join the user's factors, the newest; 0: none");
  }
};

/// Biased matrix factorisation (Koren et al., IEEE Computer 2009), on labels or ratings.
///
///   score = mu + b_u + b_i + (p_u + h_u) . q_i
///   loss  = mean task loss + l2 / 2B sum_rows (|p_u|^2 + |q_i|^2 + |h_u|^2 + b_u^2 / 2 + b_i^2 / 2)
///
/// h_u = 0, or with `history` the implicit part of SVD++ (Koren, KDD 2008): |N|^(-1/2) sum_{j in N} y[item_j] over what
/// the user did before the row.
///
/// Shapes: B batch, D factors. mu starts at the mean rating, or at the log-odds of the labels; the factors at
/// N(0, init_std^2), those of unknown and missing ids at 0. In evaluation mode predicted ratings are clipped to the
/// range of the training ratings.
class MFImpl : public Model {
 public:
  /// Throws ValueError when the data names no user or no item.
  explicit MFImpl(std::shared_ptr<const data::Schema> schema, MFOptions options = {});
  /// Returns one logit or rating per row, [B].
  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor loss(const data::Batch& batch) override;
  /// "user_bias", "item_bias" and "interaction" ((p_u + h_u) . q_i), each [B].
  Explanation explain(const data::Batch& batch) override;
  int64_t history_length() const override { return options.history(); }
  std::string name() const override { return "mf"; }
  OptionMap options_map() const override { return to_map(options); }

  MFOptions options;
  torch::nn::Embedding user = nullptr;       ///< p, [user rows, D]
  torch::nn::Embedding item = nullptr;       ///< q, [item rows, D]
  torch::nn::Embedding user_bias = nullptr;  ///< [user rows, 1]
  torch::nn::Embedding item_bias = nullptr;  ///< [item rows, 1]
  nn::EventPool past = nullptr;              ///< y, [item rows, D], with `history`
  torch::Tensor mean;                        ///< mu, []

 private:
  struct Rows {
    torch::Tensor user, item;            // [B, D]
    torch::Tensor past;                  // [B, D]; undefined without history
    torch::Tensor user_bias, item_bias;  // [B]
  };
  Rows look_up(const data::Batch& batch);
  torch::Tensor product(const Rows& rows) const;  // (p + h) . q, [B]
  torch::Tensor score(const Rows& rows) const;    // [B], not clipped
};
TORCH_MODULE(MF);

}  // namespace polyscene::models
