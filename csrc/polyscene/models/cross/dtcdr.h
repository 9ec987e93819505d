#pragma once

#include "polyscene/models/pair_model.h"

namespace polyscene::models {

/// Options for `DTCDR`.
struct DTCDROptions {
  RankingOptions common = RankingOptions().loss("bce");
  /// Widths of the towers' hidden layers.
  TORCH_ARG(std::vector<int64_t>, hidden) = {32, 16};
  /// Dropout on the towers' inputs and after their hidden layers.
  TORCH_ARG(double, dropout) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("hidden", self.hidden(), "widths of the towers' hidden layers");
    visit("dropout", self.dropout(), "dropout on the towers' inputs and after their hidden layers");
  }
};

/// Dual-target cross-domain recommendation (Zhu et al., CIKM 2019), for any number of scenes, with neural
/// factorisation as base and without side information.
///
///   u = max_{t: u has rows in t} U^t_u,   i = max_{t: i has rows in t} V^t_i   (elementwise)
///   s(u, i) = w_s . MLP_s([u; i]) + b_s in scene s
///
/// A user or item that no training row holds has the zero vector. Without overlap what is left is a tower for each
/// scene. The weight of the scenes in the loss is the trainer's (`scene_weight`).
/// Shapes: S scenes, D factors; tables [S, ., D] in one.
class DTCDRImpl : public PairModel {
 public:
  explicit DTCDRImpl(std::shared_ptr<const data::Schema> schema, DTCDROptions options = {});
  std::string name() const override { return "dtcdr"; }
  OptionMap options_map() const override { return to_map(options); }

  DTCDROptions options;
  torch::nn::Embedding user = nullptr;  ///< U, [S U, D]
  torch::nn::Embedding item = nullptr;  ///< V, [S I, D]
  nn::SceneMLP tower = nullptr;         ///< one for each scene

 protected:
  Parts user_parts(const torch::Tensor& user, const torch::Tensor& scene, const nn::SceneGroups& groups,
                   Parts* looked_up) override;
  Parts item_parts(const torch::Tensor& item, const torch::Tensor& scene, const nn::SceneGroups& groups,
                   Parts* looked_up) override;
  torch::Tensor combine(const Parts& user, const Parts& item, const nn::SceneGroups& groups) override;

 private:
  void look_around();

  torch::Tensor users_in_, items_in_;  // bool [S, U], [S, I]: who has training rows where
  std::shared_ptr<const data::Interactions> known_;
};
TORCH_MODULE(DTCDR);

}  // namespace polyscene::models
