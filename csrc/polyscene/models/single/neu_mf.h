#pragma once

#include "polyscene/models/pair_model.h"

namespace polyscene::models {

/// Options for `NeuMF`.
struct NeuMFOptions {
  RankingOptions common = RankingOptions().loss("bce").negatives(4);
  /// Width of the tower's factors; 0: `dim`.
  TORCH_ARG(int64_t, tower_dim) = 0;
  /// Widths of the tower's hidden layers.
  TORCH_ARG(std::vector<int64_t>, hidden) = {64, 32, 16};
  /// Dropout on the tower's input and after its hidden layers.
  TORCH_ARG(double, dropout) = 0;
  /// Standard deviation of the initial factors; 0: Glorot's.
  TORCH_ARG(double, init_std) = 0.01;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("tower_dim", self.tower_dim(), "width of the tower's factors; 0: that of the product's");
    visit("hidden", self.hidden(), "widths of the tower's hidden layers");
    visit("dropout", self.dropout(), "dropout on the tower's input and after its hidden layers");
    visit("init_std", self.init_std(), "standard deviation of the initial factors; 0: that of Glorot and Bengio");
  }
};

/// Neural matrix factorisation (He et al., WWW 2017), blind to scenes: a weighted product beside a tower.
///
///   s(u, i) = w_g . (p_u * q_i) + w_m . MLP([x_u; y_i]) + b
///
/// Without the paper's pre-training: both halves learn together from the start. Shapes: D factors; p, q [., D]; x, y
/// [., tower_dim].
class NeuMFImpl : public PairModel {
 public:
  explicit NeuMFImpl(std::shared_ptr<const data::Schema> schema, NeuMFOptions options = {});
  std::string name() const override { return "neu_mf"; }
  OptionMap options_map() const override { return to_map(options); }

  NeuMFOptions options;
  torch::nn::Embedding user = nullptr;        ///< p, [U, D]
  torch::nn::Embedding item = nullptr;        ///< q, [I, D]
  torch::nn::Embedding tower_user = nullptr;  ///< x, [U, tower_dim]
  torch::nn::Embedding tower_item = nullptr;  ///< y, [I, tower_dim]
  nn::SceneMLP tower = nullptr;               ///< its output layer is w_m and b
  torch::Tensor weight;                       ///< w_g, [D]

 protected:
  Parts user_parts(const torch::Tensor& user, const torch::Tensor& scene, const nn::SceneGroups& groups,
                   Parts* looked_up) override;
  Parts item_parts(const torch::Tensor& item, const torch::Tensor& scene, const nn::SceneGroups& groups,
                   Parts* looked_up) override;
  torch::Tensor combine(const Parts& user, const Parts& item, const nn::SceneGroups& groups) override;
};
TORCH_MODULE(NeuMF);

}  // namespace polyscene::models
