#pragma once

#include "polyscene/models/cross/variational_graph.h"
#include "polyscene/models/ranking_model.h"

namespace polyscene::models {

/// Options for `DisenCDR`.
struct DisenCDROptions {
  RankingOptions common = RankingOptions().dim(64).loss("bce").negatives(4);
  /// Times that a scene's graph is walked there and back.
  TORCH_ARG(int64_t, layers) = 2;
  /// Share of the scenes' own encoders in what the shared part is drawn to (beta).
  TORCH_ARG(double, beta) = 0.9;
  /// Weight of all divergences.
  TORCH_ARG(double, divergence) = 0.1;
  /// "paper" or "authors".
  TORCH_ARG(std::string, form) = "paper";
  /// Epochs of the specific parts alone before the shared one joins.
  TORCH_ARG(int64_t, warm_up) = 0;
  /// Dropout of what each layer reads.
  TORCH_ARG(double, dropout) = 0;
  /// Standard deviation of the initial tables.
  TORCH_ARG(double, init_std) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("layers", self.layers(), "how often a scene's graph is walked there and back");
    visit("beta", self.beta(), "share of the scenes' own encoders in what the shared part is drawn to");
    visit("divergence", self.divergence(), "weight of all Kullback-Leibler divergences");
    visit("form", self.form(),
          "'paper': a free deviation, divergences as the evidence bound has them; 'authors': a deviation above 1.1, "
          "noise times exp(it), a prior of 3.6, divergences averaged over nodes, one weight of a scene for all users");
    visit("warm_up", self.warm_up(), "epochs of the specific parts alone before the shared one joins");
    visit("dropout", self.dropout(), "share of what each layer reads that is dropped in training");
    visit("init_std", self.init_std(), "standard deviation of the initial tables");
  }
};

/// DisenCDR (Cao et al., SIGIR 2022) over any number of scenes: a user is what scenes share and what each has alone.
///
///   specific_s, item_s = encoders of scene s over its graph;  shared = encoders of all scenes, added after every layer
///   with weights n_us / n_u;  z = mu + eps sigma in training, else mu,  sigma = softplus(spread)
///   s(u, i, s) = (shared_u + specific_us) . item_is
///   loss = BCE + divergence (sum_s KL(specific_s || p) + KL(item_s || p)
///                            + (1 - beta) KL(shared || p) + beta sum_s KL(shared || own_s)),  p = N(0, 1)
///
/// own_s is an encoder of the shared tables of scene s alone. KL is added over D and nodes with training rows and
/// divided by the number of scores that pairs and drawn items make in one epoch, as the evidence bound has it. The
/// "authors" average it over nodes, divide by 2S (the number of their means of BCE) and have sigma = exp(0.1 + 0.9
/// softplus(spread)), above 1.1: the divergences then outweigh the pairs tens of times. "paper" begins with
/// deviations near 0.05. n_us are the user's training pairs in s. Who has none in s has no specific part there, and who
/// has none anywhere scores 0. Without shared users the shared part is a second encoder of each scene. A step encodes
/// every graph once, for rows of all scenes: O(layers (edges D + P D^2)) with P users and items of all scenes; large
/// batches pay. Shapes: D factors.
class DisenCDRImpl : public FactorModel {
 public:
  explicit DisenCDRImpl(std::shared_ptr<const data::Schema> schema, DisenCDROptions options = {});
  std::string name() const override { return "disen_cdr"; }
  std::vector<Phase> phases() const override;
  void begin_phase(const Phase& phase) override;
  OptionMap options_map() const override { return to_map(options); }

  DisenCDROptions options;
  torch::nn::Embedding user = nullptr;    ///< [S * U, D], of the specific encoders
  torch::nn::Embedding shared = nullptr;  ///< [S * U, D], of the shared ones
  torch::nn::Embedding item = nullptr;    ///< [S * I, D]
  /// A list of layers for each scene.
  torch::nn::ModuleList specific = nullptr, items_of = nullptr, own = nullptr, cross = nullptr;
  torch::Tensor joined;  ///< int64 [], 1 where the shared part counts

 protected:
  void begin_pass() override;
  Scored score_batch(const data::Batch& batch) override;
  torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;
  torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                             std::vector<torch::Tensor>* looked_up) override;

 private:
  struct SceneNodes : MeanGraph {
    torch::Tensor place;   // int64, of its users among those with rows anywhere
    torch::Tensor weight;  // [users, 1], n_us / n_u
  };
  void make_graphs();
  Gaussian encode_shared(const std::vector<torch::Tensor>& tables) const;
  torch::Tensor draw(const Gaussian& q) const;
  torch::Tensor reduced(const torch::Tensor& each) const;  // of divergences [n]
  bool wide() const { return options.form() == "authors"; }
  VariationalReading reading() const { return {options.layers(), is_training() ? options.dropout() : 0, wide()}; }

  bool made_ = false;
  std::shared_ptr<const data::Interactions> made_of_;
  std::vector<SceneNodes> nodes_;
  torch::Tensor user_place_, item_place_, any_place_;  // int64 [S * U], [S * I], [U]; past the end for none
  int64_t known_users_ = 0;
  double pairs_ = 0;
  torch::Tensor specific_z_, shared_z_, item_z_, kl_;  // of the last pass, a row of zeros at the end
};
TORCH_MODULE(DisenCDR);

}  // namespace polyscene::models
