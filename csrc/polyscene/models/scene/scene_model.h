#pragma once

#include "polyscene/models/base.h"
#include "polyscene/nn/event_pool.h"
#include "polyscene/nn/feature_embedding.h"
#include "polyscene/nn/scene_groups.h"

namespace polyscene::models {

/// Options that all multi-scene models share.
struct SceneOptions {
  /// Width of the embeddings (D).
  TORCH_ARG(int64_t, dim) = 16;
  /// Standard deviation of the initial embeddings.
  TORCH_ARG(double, init_std) = 1e-4;
  /// L2 on the embeddings that a batch looks up, for each row of the batch.
  TORCH_ARG(double, embedding_l2) = 0;
  /// Whether the scene is a field of its own in the input.
  TORCH_ARG(bool, scene_field) = false;
  /// How many past events of the user, the newest, are pooled into one more field; 0: none.
  TORCH_ARG(int64_t, history) = 0;
  /// What is added to the logit on the same embeddings: none, fm or cross.
  TORCH_ARG(std::string, interaction) = "none";
  /// Cross layers of interaction "cross".
  TORCH_ARG(int64_t, cross_layers) = 2;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim(), "width of the embeddings");
    visit("init_std", self.init_std(), "standard deviation of the initial embeddings");
    visit("embedding_l2", self.embedding_l2(), "L2 on the embeddings that a batch looks up, per batch row");
    visit("scene_field", self.scene_field(), "whether the scene is a field of its own in the input");
    visit("history", self.history(),
          "how many past events of the user, the newest, are pooled into one more field (as in SVD++); 0: none");
    visit("interaction", self.interaction(),
          "what is added to the logit on the same embeddings: none; fm: biases and products of pairs of fields; cross: "
          "cross layers");
    visit("cross_layers", self.cross_layers(), "cross layers of interaction 'cross'");
  }
};

/// What multi-scene models are made of: one fused table, rows grouped by scene, a body that each of them defines, and
/// an interaction beside it.
///
///   x = [e_1; ...; e_F; numeric]                                                                  the input, [B, E]
///   e_F = |N|^(-1/2) sum_{j in N} y[item_j] with `history`              what the user did before (Koren, KDD 2008)
///   logit = body(x, scene) + interaction                                        after the paper of each model
///   fm:     b + t_s + sum_c w_c + sum_{f < g} v_f . v_g                         (Rendle, ICDM 2010), v = e
///   cross:  w . x_L,  x_{l+1} = x_0 * (W_l x_l + b_l) + x_l                     (Wang et al., WWW 2021), x_0 = x
///   loss    = task loss + body's own terms + l2 / 2B sum_rows (|e|^2 + w^2 / 2)
///
/// A tower over concatenated embeddings finds the product of user and item hardly or not at all, a factorisation at
/// once; with both, the tower is left with what scenes change. Shapes: B batch, F slots, D width, E = F D + numeric
/// columns, S scenes.
class SceneModel : public Model {
 public:
  /// Throws ValueError for options out of range.
  SceneModel(std::shared_ptr<const data::Schema> schema, SceneOptions common, const char* owner);

  /// One logit per row, [B], in the order of the batch.
  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor loss(const data::Batch& batch) override;
  int64_t history_length() const override { return common.history(); }
  /// The last hidden layer of the body, or the input of one that has none.
  torch::Tensor represent(const data::Batch& batch) override;
  /// "body" [B] and, where there is one, "interaction" [B], then what the model tells of itself.
  Explanation explain(const data::Batch& batch) override;

  SceneOptions common;
  nn::FeatureEmbedding embedding = nullptr;             ///< e, [V, D]
  torch::Tensor scene_embedding;                        ///< [S, D], with `scene_field`
  nn::EventPool past = nullptr;                         ///< y, [items, D], with `history`
  nn::FeatureEmbedding first_order = nullptr;           ///< w, [V, 1], with fm
  torch::Tensor base, scene_bias;                       ///< b, [], and t, [S], with fm
  std::vector<torch::Tensor> cross_weight, cross_bias;  ///< W, [E, E], and b, [E], with cross
  torch::Tensor cross_head;                             ///< w, [E], with cross

 protected:
  /// Rows grouped by scene, as a body reads them.
  struct Rows {
    torch::Tensor x;      ///< [B, E]
    torch::Tensor slots;  ///< [B, F, D]; what x holds, without numeric columns
    const data::Batch& batch;
    const nn::SceneGroups& groups;
    nn::SceneGroups all;  ///< the same rows as one group
  };
  /// What a body answers. `penalty` is a mean over rows that joins the loss; `parts` are filled for `explain` alone,
  /// [B, ...] each, in the order of the rows.
  struct Answer {
    torch::Tensor logits;   ///< [B]
    torch::Tensor penalty;  ///< []; undefined: none
    Explanation parts = {};
  };
  virtual Answer body(const Rows& rows, bool explaining) = 0;

  int64_t input_size() const { return slots() * common.dim() + schema().numeric_width(); }  ///< E
  /// Fields, the scene and what the user did before (F).
  int64_t slots() const { return embedding->slots() + (common.scene_field() ? 1 : 0) + (common.history() > 0 ? 1 : 0); }
  int64_t scenes() const { return schema().num_scenes(); }  ///< S

 private:
  struct Found {
    nn::GroupedBatch grouped;
    Answer answer;
    torch::Tensor interaction;  // [B]; undefined: none
    torch::Tensor squares;      // of the looked-up embeddings, []; undefined without embedding_l2
    torch::Tensor x;            // [B, E]
  };
  Found run(const data::Batch& batch, bool explaining);
  torch::Tensor interaction(const Rows& rows, torch::Tensor& squares);
};

}  // namespace polyscene::models
