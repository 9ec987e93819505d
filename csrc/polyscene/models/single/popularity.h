#pragma once

#include "polyscene/models/base.h"
#include "polyscene/models/serving.h"

namespace polyscene::models {

/// Options for `Popularity`.
struct PopularityOptions {
  /// Whether an item's rate is that of the row's scene or the one over all scenes.
  TORCH_ARG(std::string, scope) = "scene";
  /// Rows that the prior counts for.
  TORCH_ARG(double, smoothing) = 10;

 public:
  /// Names every field once; bindings, repr and checkpoints walk this list.
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("scope", self.scope(), "'scene': an item's rate in the row's scene; 'overall': over all scenes");
    visit("smoothing", self.smoothing(), "rows that the prior counts for");
  }
};

/// The smoothed mean label of the item, in closed form: what a model must beat.
///
///   r_i     = (sum_i y + k m) / (n_i + k)              over all scenes, m the mean training label
///   r_{s,i} = (sum_{s,i} y + k r_i) / (n_{s,i} + k)    scope "scene": backs off to r_i where scene s saw little of i
///
/// `forward` is r for ratings and its log-odds for ctr. For rankings it is the number of training rows of the item in
/// the scene (those it has in all scenes decide between equal ones), or with scope "overall" in all scenes. Shapes: B
/// batch, S scenes, I item rows, k smoothing.
class PopularityImpl : public Model, public ServesNewcomers {
 public:
  /// Throws ValueError when the data names no item.
  explicit PopularityImpl(std::shared_ptr<const data::Schema> schema, PopularityOptions options = {});
  /// Returns one logit or rating per row, [B].
  torch::Tensor forward(const data::Batch& batch) override;
  /// "rate" and "rows" (what the rate of the item in its scope was counted from), each [B].
  Explanation explain(const data::Batch& batch) override;
  /// Counts the rows of `train`; there is nothing left to optimise.
  bool fit_closed_form(const data::Table& train) override;
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  /// The same for everybody.
  torch::Tensor score_newcomers(const Met& met, int64_t scene, const torch::Tensor& items) override;
  std::string name() const override { return "popularity"; }
  OptionMap options_map() const override { return to_map(options); }

  PopularityOptions options;
  torch::Tensor rate;  ///< smoothed mean label, [S, I]; [1, I] for scope "overall"
  torch::Tensor rows;  ///< training rows behind it, of the same shape

 private:
  torch::Tensor pick(const torch::Tensor& table, const data::Batch& batch) const;  // [B]
};
TORCH_MODULE(Popularity);

}  // namespace polyscene::models
