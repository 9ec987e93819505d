#pragma once

#include "polyscene/models/cross/variational_graph.h"
#include "polyscene/models/ranking_model.h"

namespace polyscene::models {

/// Options for `CDRIB`.
struct CDRIBOptions {
  RankingOptions common = RankingOptions().dim(64).loss("bce").negatives(4);
  /// Times that a scene's graph is walked there and back.
  TORCH_ARG(int64_t, layers) = 3;
  /// Weight of the users' divergences beside the items' (beta).
  TORCH_ARG(double, beta) = 1.5;
  /// Weight of all divergences.
  TORCH_ARG(double, divergence) = 0.1;
  /// "paper" or "authors".
  TORCH_ARG(std::string, form) = "paper";
  /// "others", "own" or "mean".
  TORCH_ARG(std::string, scored) = "others";
  /// "others" or "mean".
  TORCH_ARG(std::string, trained) = "others";
  /// Weight of the contrast between scenes; 0: none.
  TORCH_ARG(double, contrast) = 1;
  /// "hinge" or "bce".
  TORCH_ARG(std::string, contrast_loss) = "hinge";
  /// By how much the hinge wants a user's own pair above a strange one.
  TORCH_ARG(double, margin) = 0.3;
  /// Pairs of scenes of one user that each step contrasts.
  TORCH_ARG(int64_t, contrasted) = 64;
  /// Dropout of what each layer reads.
  TORCH_ARG(double, dropout) = 0;
  /// Standard deviation of the initial tables.
  TORCH_ARG(double, init_std) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("layers", self.layers(), "how often a scene's graph is walked there and back");
    visit("beta", self.beta(), "weight of the users' divergences beside the items'");
    visit("divergence", self.divergence(), "weight of all Kullback-Leibler divergences");
    visit(
        "form", self.form(),
        "'paper': a free deviation, divergences as the evidence bound has them; 'authors': a deviation in (1.1, 2.6), "
        "divergences averaged over nodes");
    visit("scored", self.scored(),
          "how a user with rows here and elsewhere is ranked: by what 'others' say, 'own', their 'mean'");
    visit(
        "trained", self.trained(),
        "how such a user is read in training: by what 'others' say, or by the 'mean' with the own scene, for users who "
        "will be known");
    visit("contrast", self.contrast(), "weight of the contrast between the scenes of a user");
    visit("contrast_loss", self.contrast_loss(), "'hinge' or 'bce' of a user's own pair against strange ones");
    visit("margin", self.margin(), "by how much the hinge wants a user's own pair above a strange one");
    visit("contrasted", self.contrasted(), "pairs of scenes of one user that each step contrasts");
    visit("dropout", self.dropout(), "share of what each layer reads that is dropped in training");
    visit("init_std", self.init_std(), "standard deviation of the initial tables");
  }
};

/// CDRIB (Cao et al., ICDE 2022) over any number of scenes: what an encoder of one scene says of a user must predict
/// what the user meets in the others.
///
///   e_s(u) = [x_1; ..; x_L-1; z],  x_l layers over the graph of scene s, z = mu + eps sigma in training, else mu
///   user(u, s) = mean of e_s'(u) over the other scenes s' with rows of u, without any e_s(u);   item(i, s) = e_s(i)
///   s(u, i, s) = user . item
///   loss = BCE + divergence (sum of beta KL(z_u || N(0, 1)) and KL(z_i || N(0, 1))) + contrast / 2S L_con
///   L_con = mean [m - d(e_a(u), e_b(u)) + d(e_a(u), e_b(v))]+ + mean [m - d(e_a(u), e_b(u)) + d(e_a(w), e_b(u))]+
///
/// With `trained` "mean", not of the paper, user(u, s) is in training the mean over all scenes with rows of u, s too:
/// together with `scored` "mean" it serves users whose own rows are known.
///
/// d is the sigmoid of an MLP of width 128 and 100; u drawn with two scenes a < b that have rows of u, v and w drawn
/// from b and a. Divergences are added over nodes and D and divided by the number of scores that pairs and drawn items
/// make in one epoch ("paper"), or averaged over nodes and divided by 2S ("authors", whose prior has the deviation 2.51
/// that their limit makes of 1, and who weigh divergences by 1). "paper" begins with deviations near 0.05: near 0.7, as
/// the layers' own initial values have it, the noise hides what the means are to learn. Who has no rows anywhere scores
/// 0. Without shared users there is no contrast, and every scene trains alone. A step encodes every graph once.
class CDRIBImpl : public FactorModel {
 public:
  explicit CDRIBImpl(std::shared_ptr<const data::Schema> schema, CDRIBOptions options = {});
  std::string name() const override { return "cdrib"; }
  OptionMap options_map() const override { return to_map(options); }

  CDRIBOptions options;
  torch::nn::Embedding user = nullptr;                           ///< [S * U, D]
  torch::nn::Embedding item = nullptr;                           ///< [S * I, D]
  torch::nn::ModuleList users_of = nullptr, items_of = nullptr;  ///< layers of each scene
  /// d: 2 L D -> 128 -> 100 -> 1.
  torch::nn::Linear first = nullptr, second = nullptr, third = nullptr;

 protected:
  void begin_pass() override;
  Scored score_batch(const data::Batch& batch) override;
  torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;

 private:
  void make_graphs();
  torch::Tensor contrast_loss();
  torch::Tensor compared(const torch::Tensor& a, const torch::Tensor& b);  // logits of d, [n]

  bool made_ = false;
  std::shared_ptr<const data::Interactions> made_of_;
  std::vector<MeanGraph> graphs_;
  torch::Tensor user_place_, item_place_, any_place_;  // int64 [S * U], [S * I], [U]; past the end for none
  torch::Tensor all_users_;                            // int64, of each row of users_z_ among those known anywhere
  torch::Tensor scenes_of_;                            // [U], scenes with rows of each
  torch::Tensor pair_;                                 // int64 [n, 2], rows of users_z_ of one user in two scenes
  torch::Tensor first_of_, count_of_;  // int64, of each row of users_z_: where its scene begins, how many it has
  double pairs_ = 0;
  torch::Tensor users_z_, total_z_, items_z_, kl_;  // of the last pass, a row of zeros at the end
};
TORCH_MODULE(CDRIB);

}  // namespace polyscene::models
