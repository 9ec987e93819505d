#pragma once

#include <array>
#include <optional>

#include "polyscene/models/cross_ridge.h"
#include "polyscene/models/ease_weights.h"
#include "polyscene/models/ranking_model.h"
#include "polyscene/models/serving.h"

namespace polyscene::models {

/// Options for `CrossEASE`.
struct CrossEASEOptions {
  /// Weight of the L2 penalty of the scene's own weights.
  TORCH_ARG(double, l2) = 250;
  /// Of the regression from other scenes.
  TORCH_ARG(double, ridge) = 10;
  /// Standard errors by which a prior or another scene must help to be let in.
  TORCH_ARG(double, margin) = 2;
  /// Share of the training pairs that the gates of users whom a scene knows are judged on.
  TORCH_ARG(double, held_out) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("l2", self.l2(), "weight of the L2 penalty of the scene's own weights, as in ease");
    visit("ridge", self.ridge(), "weight of the L2 penalty of the regression from other scenes");
    visit("margin", self.margin(),
          "standard errors by which the prior and other scenes must help held-out users to be let in");
    visit("held_out", self.held_out(),
          "share of the training pairs that the gates of users whom a scene knows are judged on");
  }
};

/// EASE in each scene, popularity as a prior, and the taste that users show in other scenes as a correction, each let
/// in by a gate that is judged on held-out training pairs. In closed form.
///
///   s(u, .) = own(u) + p_g b + c_g taste(u)        g: how many items of the scene training has of the user
///   own = x_u B of the scene (0 without rows there), b = mean of rows / sqrt(length),
///   taste = mean of CrossRidge(a -> scene) over the other scenes a that know the user
///
/// g is cold (0), few (1 to 5), some (6 to 20) or many. For each scene and g the gates p and c take the values with the
/// best NDCG@10 of users from whom pairs were held out, own and taste fitted without them; for cold users, where p is
/// 1, of everybody whom another scene knows too, by the leave-one-out prediction. Each is 0 unless it helps by `margin`
/// standard errors, so that a scene that teaches nothing is shut out. Users of no scene are served by b.
class CrossEASEImpl : public Model, public ServesNewcomers, public FindsSimilar, public GivesReasons {
 public:
  /// Throws ValueError when the data names no user or no item, or for options out of range.
  explicit CrossEASEImpl(std::shared_ptr<const data::Schema> schema, CrossEASEOptions options = {});
  torch::Tensor forward(const data::Batch& batch) override;
  bool fit_closed_form(const data::Table& train) override;
  void encode() override;
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  torch::Tensor score_newcomers(const Met& met, int64_t scene, const torch::Tensor& items) override;
  /// The item's row of B in its scene; in another what meeting it there says of taste here.
  torch::Tensor similarity(int64_t item, int64_t from, int64_t to, const torch::Tensor& items) override;
  /// Exact: the score is p_g b and their sum.
  torch::Tensor reasons(int64_t user, const Met& met, int64_t scene, const torch::Tensor& items) override;
  /// "own", "prior" and "taste" with their gates, [B] each: what the score is the sum of.
  Explanation explain(const data::Batch& batch) override;
  std::string name() const override { return "cross_ease"; }
  OptionMap options_map() const override { return to_map(options); }

  CrossEASEOptions options;
  torch::Tensor gates;  ///< p and c, [S, 4, 2]

 private:
  /// One scene fitted on some pairs.
  struct Fitted {
    data::Interactions::Scene pairs;
    EaseWeights own;
    torch::Tensor prior;                             // b, [I]
    std::vector<std::optional<CrossRidge>> sources;  // of each scene; none for itself
  };
  /// What scores are made of, [n, I] each.
  struct Parts {
    torch::Tensor own, taste;
  };
  Fitted fit(const data::Interactions& known, int64_t scene) const;
  static Parts parts(const Fitted& fitted, const torch::Tensor& users);
  /// What each pair of one person adds to scores, [L, I], or their sum, [1, I].
  torch::Tensor by_item(int64_t user, const Met& met, int64_t scene, bool summed);
  torch::Tensor gate_of(const Met& met, int64_t person, int64_t scene) const;  // [2]
  void open_gates();                                                           // as before any data
  void judge(const data::Interactions& known);
  void judge_warm(const data::Interactions& known, const data::Interactions& rest, int64_t scene);
  void judge_cold(const Fitted& mine, int64_t scene);
  bool helps(const torch::Tensor& gain) const;  // of users, [n]
  const Fitted& fitted(int64_t scene);
  torch::Tensor gates_of(const Fitted& fitted, const torch::Tensor& users, int64_t scene) const;  // [n, 2]
  std::array<torch::Tensor, 3> pick(const data::Batch& batch);                                    // own, prior, taste

  std::shared_ptr<const data::Interactions> made_of_;
  std::map<int64_t, Fitted> fitted_;
};
TORCH_MODULE(CrossEASE);

}  // namespace polyscene::models
