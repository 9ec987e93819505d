#pragma once

#include "polyscene/models/base.h"

namespace polyscene::models {

/// Options for `NMF`.
struct NMFOptions {
  /// Width of the factors (D).
  TORCH_ARG(int64_t, dim) = 15;
  /// L2 on the factors of users and of items, for each rating.
  TORCH_ARG(double, l2) = 0.06;
  /// Times that all users and all items are updated.
  TORCH_ARG(int64_t, passes) = 50;

 public:
  /// Names every field once; bindings, repr and checkpoints walk this list.
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim(), "width of the factors");
    visit("l2", self.l2(), "L2 on the factors of users and of items, for each rating");
    visit("passes", self.passes(), "times that all users and all items are updated");
  }
};

/// Matrix factorisation without negative numbers (Lee and Seung, NeurIPS 2000), over the ratings that are there (Luo et
/// al., IEEE TII 2014).
///
///   minimise sum_{(u, i)} (r - p_u . q_i)^2 + l2 sum_{(u, i)} (|p_u|^2 + |q_i|^2),   p, q >= 0
///   p_uf <- p_uf sum_i q_if r_ui / (sum_i q_if p_u . q_i + l2 n_u p_uf),   then q_if in the same way
///
/// Users move first and items see where they went, so that no step makes the sum above larger. (Surprise updates items
/// by what it gathered before users moved, which has no such bound.) Shapes: B batch, D factors. The factors start
/// uniform in (0, 1) and are drawn when the model is made. Users and items without ratings predict by the mean vector
/// of the others. Predicted ratings are clipped to the range of the training ratings.
class NMFImpl : public Model {
 public:
  /// Throws ValueError when the data names no user or no item, for another task than rating, for options out of range.
  explicit NMFImpl(std::shared_ptr<const data::Schema> schema, NMFOptions options = {});
  /// Returns one rating per row, [B].
  torch::Tensor forward(const data::Batch& batch) override;
  /// "parts" (p_uf q_if, what each factor adds), [B, D].
  Explanation explain(const data::Batch& batch) override;
  /// All passes, from where the factors are; there is nothing left to optimise. Throws ValueError for a rating below 0.
  bool fit_closed_form(const data::Table& train) override;
  std::string name() const override { return "nmf"; }
  OptionMap options_map() const override { return to_map(options); }

  NMFOptions options;
  torch::Tensor user;  ///< p, [user rows, D]
  torch::Tensor item;  ///< q, [item rows, D]

 private:
  torch::Tensor parts(const data::Batch& batch) const;  // [B, D]
};
TORCH_MODULE(NMF);

}  // namespace polyscene::models
