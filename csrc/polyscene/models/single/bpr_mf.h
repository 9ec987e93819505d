#pragma once

#include "polyscene/models/ranking_model.h"

namespace polyscene::models {

/// Options for `BPRMF`.
struct BPRMFOptions {
  RankingOptions common = {};
  /// Whether items have a bias.
  TORCH_ARG(bool, item_bias) = true;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("item_bias", self.item_bias(), "whether items have a bias, as in the paper; RecBole's have none");
  }
};

/// Matrix factorisation for rankings (Rendle et al., UAI 2009), blind to scenes: train it on one scene for a
/// single-scene baseline, on several to see what pooling does.
///
///   s(u, i) = p_u . q_i + b_i
///
/// Shapes: D factors. Factors start at Glorot's normal, those of unknown and missing ids and the biases at 0.
class BPRMFImpl : public FactorModel {
 public:
  /// Throws ValueError when the data names no user or no item, or for options out of range.
  explicit BPRMFImpl(std::shared_ptr<const data::Schema> schema, BPRMFOptions options = {});
  std::string name() const override { return "bpr_mf"; }
  OptionMap options_map() const override { return to_map(options); }

  BPRMFOptions options;
  torch::nn::Embedding user = nullptr;  ///< p, [U, D]
  torch::nn::Embedding item = nullptr;  ///< q, [I, D]
  torch::nn::Embedding bias = nullptr;  ///< b, [I, 1], with `item_bias`

 protected:
  torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_offsets(const torch::Tensor& item, const torch::Tensor& scene) override;
};
TORCH_MODULE(BPRMF);

}  // namespace polyscene::models
