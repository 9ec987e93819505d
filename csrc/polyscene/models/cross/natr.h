#pragma once

#include "polyscene/models/cross/scene_lists.h"
#include "polyscene/models/ranking_model.h"

namespace polyscene::models {

/// Options for `NATR`.
struct NATROptions {
  RankingOptions common = RankingOptions().loss("bce");
  /// Whose factors the scenes share: "items" or "users".
  TORCH_ARG(std::string, shared) = "items";
  /// Entries of a history that are read at most (L).
  TORCH_ARG(int64_t, length) = 50;
  /// L2 on the transfer and attention weights.
  TORCH_ARG(double, weight_l2) = 0;
  /// Epochs of the phase that fits the source tables; 0: the trainer's.
  TORCH_ARG(int64_t, source_epochs) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("shared", self.shared(), "whose factors the scenes share: 'items', as in the paper, or 'users'");
    visit("length", self.length(), "entries of a history that are read at most, evenly spread over longer ones");
    visit("weight_l2", self.weight_l2(), "L2 on the transfer and attention weights: half the sum of squares");
    visit("source_epochs", self.source_epochs(), "epochs of the phase that fits the source tables; 0: the trainer's");
  }
};

/// Neural attentive transfer (Gao et al., WWW 2019), for any number of scenes: a scene learns from the factors that its
/// items have in other scenes; users' factors never leave their scene.
///
///   phase "source": P~^s_u . Q~^s_i in each scene; then these tables are frozen
///   H_l = W_s mean_{t != s, l in t} Q~^t_l + b_s for the items l of the user in s that are in another scene, without i
///   s_u = sum_l softmax_l(w1_s . relu(p_u * H_l)) H_l
///   z = beta s_u + (1 - beta) p_u,   beta = sigmoid(w2_s . relu(s_u * q_i) - w2_s . relu(p_u * q_i))
///   phase "target": s(u, i) = z . q_i
///
/// Without such items z is p_u: without overlap what is left is a factorisation of each scene. With `shared` "users"
/// users and items change places. A user without training rows in a scene has factors 0 there. relu(x * y) = relu(x)
/// relu(y) + relu(-x) relu(-y), so that rankings are products of matrices; pairs whose item lies in the history are
/// scored again without it. Shapes: S scenes, D factors, L entries; tables [S, ., D] in one.
class NATRImpl : public RankingModel, public GivesReasons {
 public:
  explicit NATRImpl(std::shared_ptr<const data::Schema> schema, NATROptions options = {});
  std::vector<Phase> phases() const override;
  void begin_phase(const Phase& phase) override;
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  /// Exact, with `shared` "items": attention times beta times H_l . q_i; the rest of the score is the user's own
  /// factors.
  torch::Tensor reasons(int64_t user, const Met& met, int64_t scene, const torch::Tensor& items) override;
  std::string name() const override { return "natr"; }
  OptionMap options_map() const override { return to_map(options); }

  NATROptions options;
  torch::nn::Embedding source_user = nullptr;         ///< P~, [S U, D]
  torch::nn::Embedding source_item = nullptr;         ///< Q~, [S I, D]
  torch::nn::Embedding user = nullptr;                ///< p, [S U, D]
  torch::nn::Embedding item = nullptr;                ///< q, [S I, D]
  torch::Tensor transfer, transfer_bias;              ///< W, [S, D, D], and b, [S, D]
  torch::Tensor history_attention, fusion_attention;  ///< w1 and w2, [S, D]
  torch::Tensor target;                               ///< buffer, []: 1 when the second phase began (or before any)

 protected:
  torch::Tensor pair_scores(const torch::Tensor& user, const torch::Tensor& item, const torch::Tensor& scene) override;
  Scored score_batch(const data::Batch& batch) override;

 private:
  struct Read {
    torch::Tensor factors;  // [n, D], of who has the history
    torch::Tensor ids;      // int64 [n, L], its entries
    torch::Tensor there;    // bool [n, L]
    torch::Tensor halves;   // relu(H) and relu(-H), [n, L, 2 D]
    torch::Tensor logits;   // [n, L]
  };
  bool of_items() const { return options.shared() == "items"; }
  void look_around();
  // H of `wanted` int64 [n], ascending, [n, D]: number s E + l is entry l of E for scene s.
  torch::Tensor carried(const torch::Tensor& wanted);
  Read read(const torch::Tensor& id, const torch::Tensor& scene, std::vector<torch::Tensor>* looked_up);
  // Scores [n, K] of histories with `other` ids [n, K], whose factors are y [n, K, D].
  torch::Tensor fused(const Read& read, const torch::Tensor& other, const torch::Tensor& y, const torch::Tensor& scene);

  SceneLists lists_;
  torch::Tensor in_;  // bool [S, I or U]: where what is shared has training rows
  std::shared_ptr<const data::Interactions> known_;
};
TORCH_MODULE(NATR);

}  // namespace polyscene::models
