#pragma once

#include "polyscene/models/base.h"
#include "polyscene/models/serving.h"

namespace polyscene::models {

/// Options that models of users and items share.
struct RankingOptions {
  /// Width of the factors (D).
  TORCH_ARG(int64_t, dim) = 64;
  /// What is minimised: "bpr", "bce" or "mse".
  TORCH_ARG(std::string, loss) = "bpr";
  /// Items drawn for each training row (N).
  TORCH_ARG(int64_t, negatives) = 1;
  /// How they are drawn: "uniform", "popularity" or "in_batch".
  TORCH_ARG(std::string, sampler) = "uniform";
  /// L2 on the factors that a batch looks up.
  TORCH_ARG(double, embedding_l2) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim(), "width of the factors");
    visit("loss", self.loss(),
          "'bpr': a row's item above the drawn ones; 'bce': 1 for it and 0 for them, by cross-entropy; 'mse': by "
          "squared error");
    visit("negatives", self.negatives(), "items drawn for each training row, none of which the user met in the scene");
    visit("sampler", self.sampler(),
          "where they come from: 'uniform' and 'popularity' draw from the scene's items, 'in_batch' from other rows");
    visit("embedding_l2", self.embedding_l2(),
          "L2 on the factors that a batch looks up: half the sum of squares for each row of the batch");
  }
};

/// A model that scores pairs of a user and an item in a scene, trained on rows of task "ranking": what somebody met.
///
///   bpr: mean softplus(s_neg - s_pos)                                            (Rendle et al., UAI 2009)
///   bce: mean over the row's item (label 1) and the N drawn ones (label 0) of the cross-entropy
///   mse: the same with the squared error of the score
///   loss = sum over scenes of scene_weight(s) * (that, of the rows of s) + penalty
///
/// Rows of all scenes train together; without weights of scenes it is the plain mean over rows.
/// Shapes: B batch, N negatives, D factors, U user rows, I item rows, S scenes.
class RankingModel : public Model {
 public:
  /// Throws ValueError without a user or item column, for options out of range.
  RankingModel(std::shared_ptr<const data::Schema> schema, RankingOptions common, const char* owner);

  /// One score a row, [B], in the order of the batch.
  torch::Tensor forward(const data::Batch& batch) override;
  /// Throws ValueError for a batch without negatives.
  torch::Tensor loss(const data::Batch& batch) override;
  data::Sampling sampling() const override;

  RankingOptions common;

 protected:
  /// What an encoding was made of. It is stale once they differ.
  struct Origin {
    std::shared_ptr<const data::History> history;
    size_t tensors = 0;  // versions and places of parameters and buffers in one number
    bool training = false;

    bool operator==(const Origin&) const = default;
  };
  Origin origin() const;

  /// Scores of the items of each row and, where wanted, what joins the loss.
  struct Scored {
    torch::Tensor own;      ///< [B]
    torch::Tensor drawn;    ///< [B, N]
    torch::Tensor penalty;  ///< []; undefined: none
  };
  /// Scores of pairs, [n], from user, item and scene, int64 [n] each.
  virtual torch::Tensor pair_scores(const torch::Tensor& user, const torch::Tensor& item,
                                    const torch::Tensor& scene) = 0;
  /// Scores of a training batch. Default: `pair_scores` of all B (1 + N) pairs.
  virtual Scored score_batch(const data::Batch& batch);
  /// Weight of each row in the loss, [B]; undefined: all alike. Default: the weights of the batch.
  virtual torch::Tensor row_weight(const data::Batch& batch) const { return batch.weight; }
  /// The loss of scores, [].
  torch::Tensor loss_of(const Scored& scored, const torch::Tensor& weight) const;

  int64_t users() const { return schema().categorical[schema().user].rows(); }  ///< U
  int64_t items() const { return schema().categorical[schema().item].rows(); }  ///< I
  int64_t scenes() const { return schema().num_scenes(); }                      ///< S
  /// Which users have training rows in the scene beside them, bool [n] from int64 [n] each; before `prepare` all are
  /// taken to have some. A row of a table that no training row reached must not count.
  torch::Tensor known_there(const torch::Tensor& user, const torch::Tensor& scene) const;
  /// What the training rows say; ValueError before `prepare`.
  const data::Interactions& known() const;
};

/// A ranking model whose score is the product of a vector of the user and one of the item (and what the item has
/// alone).
class FactorModel : public RankingModel, public ServesByVectors {
 public:
  using RankingModel::RankingModel;

  void encode() override;
  /// Without a gradient, whatever the mode. Encodes first where parameters moved since.
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  bool scores_by_piece() const override { return true; }

 protected:
  /// Before the lookups of one pass: graph models propagate here. What it keeps holds until the next call, which comes
  /// when parameters, training rows or the mode are others.
  virtual void begin_pass() {}
  /// Encodes again when what the last pass was made of changed.
  void keep_up();
  /// Vectors [n, D'] of users in scenes, int64 [n] each; what they looked up joins `looked_up` when it is given, for
  /// `embedding_l2`.
  virtual torch::Tensor user_vectors(const torch::Tensor& user, const torch::Tensor& scene,
                                     std::vector<torch::Tensor>* looked_up) = 0;
  virtual torch::Tensor item_vectors(const torch::Tensor& item, const torch::Tensor& scene,
                                     std::vector<torch::Tensor>* looked_up) = 0;
  /// What an item's score has besides, [n]; undefined: nothing.
  virtual torch::Tensor item_offsets(const torch::Tensor& item, const torch::Tensor& scene);

  torch::Tensor pair_scores(const torch::Tensor& user, const torch::Tensor& item, const torch::Tensor& scene) override;
  Scored score_batch(const data::Batch& batch) override;

  torch::Tensor vectors_of_users(int64_t scene, const torch::Tensor& ids) override;
  torch::Tensor vectors_of_items(int64_t scene, const torch::Tensor& ids) override;
  torch::Tensor offsets_of_items(int64_t scene, const torch::Tensor& ids) override;
  const data::Interactions& trained_on() const override { return known(); }

 private:
  void pass();

  Origin passed_;  // of the last pass
};

/// A table of `rows` x `dim` whose first two rows (unknown, missing) start at 0 and the others at N(0, std^2).
torch::nn::Embedding normal_table(int64_t rows, int64_t dim, double std);
/// The same with the standard deviation of Glorot and Bengio (AISTATS 2010): sqrt(2 / (rows + dim)).
torch::nn::Embedding xavier_table(int64_t rows, int64_t dim);
/// A table for each scene in one, [scenes * rows, dim]: id i of scene s is row s * rows + i. Each starts as
/// `normal_table` does, or with `std` 0 as `xavier_table`.
torch::nn::Embedding scene_tables(int64_t scenes, int64_t rows, int64_t dim, double std = 0);

/// Who has training rows in which scene, bool [S, U].
torch::Tensor present_users(const data::Interactions& known);
/// Which items have some there, bool [S, I].
torch::Tensor present_items(const data::Interactions& known);

}  // namespace polyscene::models
