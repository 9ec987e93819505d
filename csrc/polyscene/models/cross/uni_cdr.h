#pragma once

#include "polyscene/models/cross/item_prior.h"
#include "polyscene/models/cross/user_contexts.h"
#include "polyscene/models/ranking_model.h"

namespace polyscene::models {

/// Options for `UniCDR`.
struct UniCDROptions {
  RankingOptions common = RankingOptions().dim(128).loss("bce").negatives(10);
  /// "mean", "attention" or "similarity".
  TORCH_ARG(std::string, aggregator) = "mean";
  /// Items of a context in training, at most (L).
  TORCH_ARG(int64_t, max_length) = 10;
  /// Items of a context in scoring, at most.
  TORCH_ARG(int64_t, scored_length) = 50;
  /// Share of a user's items that each training row does not see.
  TORCH_ARG(double, mask) = 0.1;
  /// Share of a user's own vector beside the context (a).
  TORCH_ARG(double, id_share) = 0.5;
  /// Share of the contrast in the loss (c).
  TORCH_ARG(double, contrast) = 0.6;
  /// Epochs of the specific parts alone before the shared one joins.
  TORCH_ARG(int64_t, warm_up) = 0;
  /// Dropout of both parts of a user and of the items.
  TORCH_ARG(double, dropout) = 0.3;
  /// L2 of the closed form behind "similarity".
  TORCH_ARG(double, prior_l2) = 50;
  /// Predictions of it that count, at least.
  TORCH_ARG(double, prior_floor) = 0.1;
  /// Standard deviation of the initial tables.
  TORCH_ARG(double, init_std) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    RankingOptions::fields(self.common, visit);
    visit("aggregator", self.aggregator(),
          "how items are weighed: 'mean'; 'attention' of the user's own vector; 'similarity', how well the others of a "
          "context predict each by EASE");
    visit("max_length", self.max_length(), "items of a context in training, sampled from more of them");
    visit("scored_length", self.scored_length(), "items of a context in scoring, evenly spread over more of them");
    visit("mask", self.mask(), "share of a user's items that a training row does not see, in [0, 1)");
    visit("id_share", self.id_share(), "share of a user's own vector beside the context, in [0, 1]");
    visit("contrast", self.contrast(), "share of the contrast between the parts of a user in the loss, in [0, 1)");
    visit("warm_up", self.warm_up(), "epochs of the specific parts alone before the shared one joins");
    visit("dropout", self.dropout(), "share of users' parts and of items that is dropped in training");
    visit("prior_l2", self.prior_l2(), "L2 of the closed form behind 'similarity'");
    visit("prior_floor", self.prior_floor(), "predictions of that closed form below this count as 0");
    visit("init_std", self.init_std(), "standard deviation of the initial tables");
  }
};

/// UniCDR (Cao et al., WSDM 2023) for any number of scenes: a user is what their items say in the scene and elsewhere.
///
///   g(x, C) = sum_{j in C} w_j Q_j,  w = 1 / |C| | softmax_j(x . tanh(A Q_j + b)) | softmax_j(p_j),  0 without items
///   specific = a x_us + (1 - a) W_s g(x_us, items of u in s without i)
///   shared = a x_u + (1 - a) W g(x_u, items of u in other scenes)
///   s(u, i, s) = (specific + shared) . Q_is
///   loss = (1 - c) (BCE(s, 1) + mean BCE(s_drawn, 0)) + c (BCE(z(u, u), 1) + BCE(z(v, u), 0)),
///   z(v, u) = specific_v' M_s shared_u + m_s with v the next user of the batch in the scene
///
/// p are the positive parts of x_C B of EASE (B of the scene of each item) from `prior_floor` on, over their sum. An
/// item never tells of itself. Who has no rows in s has no specific part there, and who has none anywhere scores 0.
/// Shapes: S scenes, U users, I items, D factors, L entries of a context.
class UniCDRImpl : public RankingModel {
 public:
  explicit UniCDRImpl(std::shared_ptr<const data::Schema> schema, UniCDROptions options = {});
  torch::Tensor loss(const data::Batch& batch) override;
  std::vector<Phase> phases() const override;
  void begin_phase(const Phase& phase) override;
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  std::string name() const override { return "uni_cdr"; }
  OptionMap options_map() const override { return to_map(options); }

  UniCDROptions options;
  torch::nn::Embedding user = nullptr;                           ///< x_us, [S U, D]
  torch::nn::Embedding shared = nullptr;                         ///< x_u, [U, D]
  torch::nn::Embedding item = nullptr;                           ///< Q, [S I, D]
  torch::Tensor specific_map, shared_map;                        ///< W_s, [S, D, D], and W, [1, D, D]
  torch::Tensor specific_attention, shared_attention;            ///< A, likewise; undefined without attention
  torch::Tensor specific_attention_bias, shared_attention_bias;  ///< b, [S, D] and [1, D]
  torch::Tensor critic, critic_bias;                             ///< M, [S, D, D], and m, [S]
  torch::Tensor joined;                                          ///< int64 [], 1 where the shared part counts

 protected:
  torch::Tensor pair_scores(const torch::Tensor& user, const torch::Tensor& item, const torch::Tensor& scene) override;
  Scored score_batch(const data::Batch& batch) override;

 private:
  struct Read;
  void look_around();
  Read read(bool own, const torch::Tensor& user, const torch::Tensor& scene, const torch::Tensor& left_out);
  // A part of users, [n, D], from weighed items [n, D].
  torch::Tensor part(const Read& read, const torch::Tensor& weighed) const;
  torch::Tensor part(const Read& read) const;
  torch::Tensor items_of(const torch::Tensor& item, const torch::Tensor& scene);
  torch::Tensor contrasted(const torch::Tensor& specific, const torch::Tensor& shared, const data::Batch& batch) const;
  bool joint() const { return joined.item<int64_t>() == 1; }

  bool made_ = false;
  std::shared_ptr<const data::Interactions> known_;
  UserContexts contexts_;
  ItemPrior prior_;
  torch::Tensor contrast_;  // [B], of the last batch; undefined: none
};
TORCH_MODULE(UniCDR);

}  // namespace polyscene::models
