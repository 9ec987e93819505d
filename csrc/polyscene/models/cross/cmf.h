#pragma once

#include "polyscene/models/ranking_model.h"

namespace polyscene::models {

/// Options for `CMF`.
struct CMFOptions {
  RankingOptions common = RankingOptions().loss("bce");
  /// Weight of each scene's mean loss; empty: all rows alike.
  TORCH_ARG(std::vector<double>, scene_weights) = {};

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("scene_weights", self.scene_weights(),
          "weight of each scene's mean loss, in the order of the schema's scenes; empty: every row counts alike");
  }
};

/// Collective matrix factorisation (Singh and Gordon, KDD 2008): the matrices of all scenes share their factors.
///
///   s(u, i) = p_u . q_i,   loss = sum_s w_s mean_{rows of s} l / sum_s w_s + l2 / 2B sum (|p_u|^2 + |q_i|^2)
///
/// The paper alternates Newton steps over relations with any link; this is the logistic link by stochastic gradients,
/// as RecBole-CDR has it with two weights of 0.5. Scenes share what they have in common: users, items, both; with
/// neither, one matrix factorisation for each scene is left. Shapes: U users, I items, D factors. Factors start at
/// Glorot's normal, those of unknown and missing ids at 0.
class CMFImpl : public FactorModel {
 public:
  /// Throws ValueError for scene weights that do not fit the scenes.
  explicit CMFImpl(std::shared_ptr<const data::Schema> schema, CMFOptions options = {});
  std::string name() const override { return "cmf"; }
  OptionMap options_map() const override { return to_map(options); }

  CMFOptions options;
  torch::nn::Embedding user = nullptr;  ///< p, [U, D]
  torch::nn::Embedding item = nullptr;  ///< q, [I, D]

 protected:
  torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor row_weight(const data::Batch& batch) const override;

 private:
  torch::Tensor weights_;  // [S]; undefined: all rows alike
};
TORCH_MODULE(CMF);

}  // namespace polyscene::models
