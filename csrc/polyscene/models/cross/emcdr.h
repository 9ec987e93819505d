#pragma once

#include "polyscene/models/cross/pair_maps.h"
#include "polyscene/models/cross/scene_factors.h"

namespace polyscene::models {

/// Options for `EMCDR`.
struct EMCDROptions {
  RankingOptions common = RankingOptions().embedding_l2(1e-2);
  /// "linear" or "mlp".
  TORCH_ARG(std::string, mapping) = "mlp";
  /// Hidden units of the mlp.
  TORCH_ARG(int64_t, hidden) = 128;
  /// Whom the mapping serves: "cold" or "overlapping".
  TORCH_ARG(std::string, map_users) = "cold";
  /// Most epochs of the mapping; 0: those of the trainer.
  TORCH_ARG(int64_t, map_epochs) = 50;
  /// Users of one step of the mapping.
  TORCH_ARG(int64_t, map_batch) = 100;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("mapping", self.mapping(), "'linear': a matrix; 'mlp': a hidden layer with tanh before a linear one");
    visit("hidden", self.hidden(), "hidden units of the mlp");
    visit("map_users", self.map_users(),
          "whom the mapping serves: 'cold' for users without training rows in the scene, 'overlapping' for all with "
          "training rows elsewhere, as RecBole-CDR does");
    visit("map_epochs", self.map_epochs(), "most epochs of the mapping; 0: those of the trainer");
    visit("map_batch", self.map_batch(), "users of one step of the mapping");
  }
};

/// Embedding and mapping (EMCDR: Man et al., IJCAI 2017): factors of each scene alone, then a mapping of users from
/// every scene to every other.
///
///   phase of scene s:  s(u, i) = P^s_u . Q^s_i, trained on the rows of s
///   mapping:           L = mean over users in s and t, s != t, of MSE(f_st(P^s_u), P^t_u), both sides held
///   afterwards:        user of t = mean over the other scenes s of u of f_st(P^s_u), for whom `map_users` says
///
/// With two scenes that is the paper in both directions. Without users in two scenes the factors remain. Shapes: S
/// scenes, U users, I items, D factors.
class EMCDRImpl : public SceneFactorModel {
 public:
  /// Throws ValueError for options out of range.
  explicit EMCDRImpl(std::shared_ptr<const data::Schema> schema, EMCDROptions options = {});
  std::vector<Phase> phases() const override;
  /// Of a batch of users without drawn items: the loss of the mapping.
  torch::Tensor loss(const data::Batch& batch) override;
  std::string name() const override { return "emcdr"; }
  OptionMap options_map() const override { return to_map(options); }

  EMCDROptions options;
  PairMaps map = nullptr;  ///< f

 protected:
  torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  bool one_space() const override { return false; }
  torch::Tensor moved(int64_t from, int64_t to, const torch::Tensor& vector, const torch::Tensor& items) override;
  torch::Tensor transferred(int64_t to, const torch::Tensor& users) override;
};
TORCH_MODULE(EMCDR);

}  // namespace polyscene::models
