#pragma once

#include "polyscene/models/cross/scene_lists.h"
#include "polyscene/models/ranking_model.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `PTUPCDR`.
struct PTUPCDROptions {
  RankingOptions common = {};
  /// Width of the meta networks' hidden layer (H).
  TORCH_ARG(int64_t, meta_hidden) = 50;
  /// Items of a source scene that tell of a user, at most (L).
  TORCH_ARG(int64_t, length) = 20;
  /// Who is served over bridges: "cold" or "all".
  TORCH_ARG(std::string, bridged) = "cold";
  /// Epochs of the phase that trains the bridges; 0: the trainer's.
  TORCH_ARG(int64_t, bridge_epochs) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("meta_hidden", self.meta_hidden(), "width of the meta networks' hidden layer");
    visit("length", self.length(), "items of another scene that tell of a user, evenly spread over longer histories");
    visit("bridged", self.bridged(),
          "who is scored over bridges: 'cold' for users without training rows in the scene, 'all' for whoever has "
          "some in another one");
    visit("bridge_epochs", self.bridge_epochs(), "epochs of the phase that trains the bridges; 0: the trainer's");
  }
};

/// Personalised transfer of user preferences (Zhu et al., WSDM 2022), for any number of scenes: a meta network for each
/// ordered pair of scenes makes a bridge for every user.
///
///   phase "factors": s(u, i) = P^s_u . Q^s_i in each scene s
///   a_j = w_ts . relu(A_ts Q^t_j + b_ts) for the user's items j in t,   c = sum_j softmax_j(a) Q^t_j
///   M_ts = reshape(meta_ts(c), D x D),   p~ = mean_{t != s, u in t} P^t_u M_ts
///   phase "bridges": s(u, i) = p~ . Q^s_i for users with rows in s and elsewhere; only a and meta move
///
/// Scores use P^s_u for users with rows in s, p~ for those with rows in other scenes alone and 0 for the others (option
/// `bridged`). Without overlap there is nobody to train bridges on, and what is left is a factorisation of each scene.
/// Shapes: S scenes, D factors, H hidden, L items; tables [S, ., D] in one; S (S - 1) pairs of H D^2 weights each.
class PTUPCDRImpl : public FactorModel {
 public:
  explicit PTUPCDRImpl(std::shared_ptr<const data::Schema> schema, PTUPCDROptions options = {});
  torch::Tensor loss(const data::Batch& batch) override;
  std::vector<Phase> phases() const override;
  void begin_phase(const Phase& phase) override;
  std::string name() const override { return "ptupcdr"; }
  OptionMap options_map() const override { return to_map(options); }

  PTUPCDROptions options;
  torch::nn::Embedding user = nullptr;  ///< P, [S U, D]
  torch::nn::Embedding item = nullptr;  ///< Q, [S I, D]
  nn::SceneMLP encoder = nullptr;       ///< A and b of each pair of scenes, with two scenes or more
  torch::Tensor encoder_weight;         ///< w of each pair, [S (S - 1), D]
  nn::SceneMLP meta = nullptr;          ///< D -> H -> D^2 of each pair
  torch::Tensor bridges;                ///< buffer, []: 1 when the phase that trains the bridges began

 protected:
  torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  bool one_space() const override { return false; }
  torch::Tensor moved(int64_t from, int64_t to, const torch::Tensor& vector, const torch::Tensor& items) override;

 private:
  const SceneLists& lists();
  bool bridging() const { return scenes() > 1 && bridges.item<int64_t>() == 1; }
  // p~ of users in scenes [n], the mean over the scenes `from` [n, S], bool.
  torch::Tensor transferred(const torch::Tensor& user, const torch::Tensor& scene, const torch::Tensor& from);

  SceneLists lists_;
  std::shared_ptr<const data::Interactions> lists_of_;
  bool training_bridges_ = false;
};
TORCH_MODULE(PTUPCDR);

}  // namespace polyscene::models
