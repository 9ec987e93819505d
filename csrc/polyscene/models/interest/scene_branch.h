#pragma once

#include "polyscene/models/base.h"
#include "polyscene/nn/attention.h"
#include "polyscene/nn/feature_embedding.h"

namespace polyscene::models {

/// Options for `SceneBranch`.
struct SceneBranchOptions {
  TORCH_ARG(std::string, branch) = "auto";
  TORCH_ARG(int64_t, dim) = 32;
  TORCH_ARG(std::string, score) = "additive";
  TORCH_ARG(int64_t, max_length) = 30;
  TORCH_ARG(double, dropout) = 0;
  TORCH_ARG(double, init_std) = 0.01;
  TORCH_ARG(double, embedding_l2) = 0.05;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("branch", self.branch(), "auto: attention where the data has several scenes, else plain; or one of these");
    visit("dim", self.dim(), "width of the factors (D)");
    visit("score", self.score(), "how the attention compares: dot, scaled_dot, cosine, additive or bilinear");
    visit("max_length", self.max_length(), "how many past events are attended to, the newest (T)");
    visit("dropout", self.dropout(), "dropout of the attended interest");
    visit("init_std", self.init_std(), "standard deviation of the initial factors");
    visit("embedding_l2", self.embedding_l2(), "L2 on the factors that take part in a row; half of it on their biases");
  }
};

/// Attention where several scenes meet, the traditional method where there is one: collaborative filtering and content
/// in one factorisation machine (Rendle, ICDM 2010) over ids and features, with a term of attended interest.
///
///   plain:      logit = mu + b_s + sum_f b_f + w . x + FM(v),   FM(v) = sum_{f < g} v_f . v_g
///   attention:  c = sum_t softmax_t(score(q + t_s, k_t + u_{s_t})) k_t,     v gains the slots c and t_s
///
/// v: factors of the row's fields, and of its numeric columns times their values x; q: sum of the factors of the
/// candidate's fields; k_t: item and label of event t, u its scene, s the row's. So a row asks behaviour from every
/// scene with its own scene in the question. The branch follows from the schema unless the options name one. Data
/// without a user or an item column have no events: c is then attended over the row's own fields, q is 0.
///
/// Shapes: B batch, F fields, M numeric columns, T events or fields, D factors, S scenes.
class SceneBranchImpl : public Model {
 public:
  /// Throws ValueError for options out of range.
  explicit SceneBranchImpl(std::shared_ptr<const data::Schema> schema, SceneBranchOptions options = {});

  /// Logits [B].
  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor loss(const data::Batch& batch) override;
  /// biases [B] and interaction [B]; of the attention branch also interest [B, D] and its weights: attention [B, 1, T]
  /// and events [B] (how many of the T count), or field_attention [B, F].
  Explanation explain(const data::Batch& batch) override;
  int64_t history_length() const override { return attends() && follows_events() ? options.max_length() : 0; }
  std::vector<std::string> table_parameters() const override;
  std::string name() const override { return "scene_branch"; }
  OptionMap options_map() const override { return to_map(options); }
  /// Whether this is the attention branch.
  bool attends() const { return attends_; }

  SceneBranchOptions options;
  nn::FeatureEmbedding bias = nullptr;           ///< b_f, [V, 1]
  nn::FeatureEmbedding factors = nullptr;        ///< v_f, [V, D]
  torch::nn::Embedding event_item = nullptr;     ///< [item rows, D]; this and all below are empty in the plain branch
  torch::nn::Embedding event_scene = nullptr;    ///< u, [S, D]; without events empty, as are event_item and event_label
  torch::nn::Embedding scene_factors = nullptr;  ///< t, [S, D]
  nn::Attention attention = nullptr;
  torch::Tensor event_label;      ///< [2, D]
  torch::Tensor numeric_bias;     ///< w, [M]; this and the next are undefined without numeric columns
  torch::Tensor numeric_factors;  ///< [M, D]
  torch::Tensor scene_bias;       ///< b_s, [S]
  torch::Tensor base;             ///< mu, [], log-odds of the training labels, a buffer

 private:
  struct Output {
    torch::Tensor logits, biases, interaction;  // [B]
    torch::Tensor penalty;                      // []
    torch::Tensor interest, weights, valid;     // [B, D], [B, 1, T], [B, T]; undefined in the plain branch
  };

  bool follows_events() const { return schema().user >= 0 && schema().item >= 0; }
  void attend(const data::Batch& batch, const torch::Tensor& slots, Output* out);
  Output run(const data::Batch& batch);

  bool attends_ = false;
  std::vector<int64_t> item_slots_;  // slots of `factors` that describe the candidate
};
TORCH_MODULE(SceneBranch);

}  // namespace polyscene::models
