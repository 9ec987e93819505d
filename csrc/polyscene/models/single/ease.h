#pragma once

#include "polyscene/models/base.h"
#include "polyscene/models/ease_weights.h"
#include "polyscene/models/serving.h"

namespace polyscene::models {

/// Options for `EASE`.
struct EASEOptions {
  /// Weight of the L2 penalty.
  TORCH_ARG(double, l2) = 250;
  /// "scene" or "overall".
  TORCH_ARG(std::string, scope) = "scene";

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("l2", self.l2(), "weight of the L2 penalty: how many users an item's own count must exceed to be trusted");
    visit("scope", self.scope(),
          "'scene': items of the row's scene alone; 'overall': what users met in all scenes together");
  }
};

/// Embarrassingly shallow autoencoder (Steck, WWW 2019), in closed form.
///
///   min_B |X - X B|^2 + l2 |B|^2,  diag(B) = 0   =>   P = (X'X + l2 I)^-1,  B = I - P / diag(P)
///   s(u, .) = x_u B = x_u - (x_u P) / diag(P)
///
/// X [users, items] holds the training pairs of the scene, or of all scenes. The smaller side is inverted: with fewer
/// users than items K = (X X' + l2 I)^-1 gives X P = K X and diag(P)_i = (1 - x_i' K x_i) / l2, the same numbers. K or
/// P is a function of the training pairs, which a saved model holds: it is made when it is first needed, in n^3
/// operations and 12 n^2 bytes for a side of n.
class EASEImpl : public Model, public ServesNewcomers, public FindsSimilar, public GivesReasons {
 public:
  /// Throws ValueError when the data names no user or no item, or for options out of range.
  explicit EASEImpl(std::shared_ptr<const data::Schema> schema, EASEOptions options = {});
  torch::Tensor forward(const data::Batch& batch) override;
  bool fit_closed_form(const data::Table& train) override;
  void encode() override;
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  torch::Tensor score_newcomers(const Met& met, int64_t scene, const torch::Tensor& items) override;
  /// The weights of the item, its row of B; -inf between scenes when each has its own.
  torch::Tensor similarity(int64_t item, int64_t from, int64_t to, const torch::Tensor& items) override;
  /// Exact: the score is their sum.
  torch::Tensor reasons(int64_t user, const Met& met, int64_t scene, const torch::Tensor& items) override;
  std::string name() const override { return "ease"; }
  OptionMap options_map() const override { return to_map(options); }

  EASEOptions options;

 private:
  torch::Tensor of_items(const torch::Tensor& met, int64_t scene);  // what these items say, [I]
  const EaseWeights& weights(int64_t scene);
  torch::Tensor scores(const torch::Tensor& users, int64_t scene);  // [U', I]

  std::shared_ptr<const data::Interactions> made_of_;
  std::map<int64_t, EaseWeights> weights_;  // by scene, -1 for all together
};
TORCH_MODULE(EASE);

}  // namespace polyscene::models
