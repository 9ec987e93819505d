#pragma once

#include "polyscene/models/base.h"
#include "polyscene/nn/encoder.h"
#include "polyscene/nn/event_pool.h"
#include "polyscene/nn/feature_embedding.h"
#include "polyscene/nn/mlp.h"
#include "polyscene/nn/multi_head_attention.h"
#include "polyscene/nn/pair_attention.h"

namespace polyscene::models {

/// Options for `InterestMigration`.
struct InterestMigrationOptions {
  TORCH_ARG(int64_t, dim) = 16;
  TORCH_ARG(int64_t, hidden) = 32;
  TORCH_ARG(std::string, encoder) = "gru";
  TORCH_ARG(int64_t, layers) = 1;
  TORCH_ARG(std::string, attention) = "multi_head";
  TORCH_ARG(int64_t, heads) = 2;
  TORCH_ARG(int64_t, max_length) = 20;
  TORCH_ARG(int64_t, interests) = 16;
  TORCH_ARG(std::string, transition) = "softmax";
  TORCH_ARG(double, interest_weight) = 0.1;
  TORCH_ARG(double, transition_weight) = 0.1;
  TORCH_ARG(bool, profile) = true;
  TORCH_ARG(int64_t, factors) = 16;
  TORCH_ARG(int64_t, profile_history) = 0;
  TORCH_ARG(double, embedding_l2) = 1e-2;
  TORCH_ARG(std::vector<int64_t>, mlp) = {32};
  TORCH_ARG(double, dropout) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim(), "width of the embeddings of events and candidates (D)");
    visit("hidden", self.hidden(), "width of the hidden states (H)");
    visit("encoder", self.encoder(), "gru, lstm, cnn or transformer");
    visit("layers", self.layers(), "layers of the encoder");
    visit("attention", self.attention(), "multi_head, or pair: attention over adjacent pairs of states");
    visit("heads", self.heads(), "heads of the multi-head attention; must divide hidden");
    visit("max_length", self.max_length(), "how many past events are followed, the newest (T)");
    visit("interests", self.interests(), "latent interests where the data names none (K)");
    visit("transition", self.transition(), "softmax: one next interest; bernoulli: each interest on its own");
    visit("interest_weight", self.interest_weight(), "weight of the loss of the interest at the last event");
    visit("transition_weight", self.transition_weight(), "weight of the loss of the next interest");
    visit("profile", self.profile(), "whether biases and a factorisation machine over the fields are added");
    visit("factors", self.factors(), "width of the factorisation machine");
    visit("profile_history", self.profile_history(),
          "how many past events join the profile as one more slot, the newest; 0: none");
    visit("embedding_l2", self.embedding_l2(), "L2 on the rows looked up by the profile, per batch row");
    visit("mlp", self.mlp(), "hidden widths of the predictor");
    visit("dropout", self.dropout(), "dropout of the states and of the predictor");
  }
};

/// How interest moves from one scene and one moment to the next: encoder -> masked attention -> interest -> transition.
///
///   h_t = encoder(x_1 .. x_t)                      x_t: item, interests, label and scene of event t
///   c_t = attention(h_t; h_1 .. h_t)
///   y_t = sigma(W_h [c_t; h_t] + b_h)                                               interests now, [K]
///   p(y_{t+1} | y_t) = sigma(W_p [c_t; y_t] + b_p + y_t A[s_t, s_{t+1}])            or softmax over interests
///   logit = z . sum_{f of the item} e_f + MLP([z; e]) + profile,   z = W_z [c_t; h_t] + p W_m
///
/// A [S, S, K, K] is the part of the transition that is special to each ordered pair of scenes; profile are biases and
/// a second-order factorisation machine over all fields and, with `profile_history`, over what the user did before (the
/// implicit part of SVD++, Koren, KDD 2008). Masks are causal and padding. Auxiliary losses: the interests
/// of the last event for y_t, the row's own interests for p; the row's interests are a target and never an input.
///
/// Shapes: B batch, T events, D embedding, H hidden, K interests, S scenes.
class InterestMigrationImpl : public Model {
 public:
  explicit InterestMigrationImpl(std::shared_ptr<const data::Schema> schema, InterestMigrationOptions options = {});

  /// Logits [B].
  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner) override;
  torch::Tensor loss(const data::Batch& batch) override;
  /// attention [B, heads, T], interests [B, K], transitions [B, K], events [B] (how many of the T count).
  Explanation explain(const data::Batch& batch) override;
  int64_t history_length() const override {
    return std::max(options.max_length(), options.profile() ? options.profile_history() : 0);
  }
  std::vector<std::string> table_parameters() const override;
  void sparse_gradients(bool on) override;
  std::string name() const override { return "interest_migration"; }
  OptionMap options_map() const override { return to_map(options); }
  int64_t num_interests() const { return interests_; }  ///< K

  /// Mean predicted p(y' | y = i) over the training events that go from scene `from` to scene `to`, [K, K]; rows
  /// without such events are the prediction of the pair's matrix alone. Throws ValueError before training.
  torch::Tensor transition_matrix(int64_t from, int64_t to) override;

  InterestMigrationOptions options;
  nn::FeatureEmbedding embedding = nullptr;  ///< fields of the candidate row, and items of the events
  nn::SequenceEncoder encoder = nullptr;
  nn::MultiHeadAttention attention = nullptr;  ///< of these two the one that the option names
  nn::PairAttention pair_attention = nullptr;
  torch::nn::Linear interest_head = nullptr;        ///< W_h, b_h
  torch::nn::Linear transition_head = nullptr;      ///< W_p, b_p
  torch::nn::Linear state_projection = nullptr;     ///< W_z
  torch::nn::Linear interest_projection = nullptr;  ///< W_m
  nn::MLP predictor = nullptr;
  nn::FeatureEmbedding bias = nullptr;     ///< [V, 1]; empty without profile
  nn::FeatureEmbedding factors = nullptr;  ///< [V, factors]; empty without profile
  nn::EventPool past = nullptr;            ///< [items, factors]; empty without profile_history
  torch::Tensor event_interest;            ///< [K, D], what an event's interests add to it
  torch::Tensor event_label;               ///< [2, D], what an event's label adds to it
  torch::Tensor scene_transition;          ///< A, [S * S, K, K]
  torch::Tensor scene_bias;                ///< [S]
  torch::Tensor base;                      ///< [], logit (rating: value) of the training mean, a buffer

 private:
  struct Steps {
    torch::Tensor states, contexts;  // [B, T, H]
    torch::Tensor valid;             // [B, T]
    torch::Tensor weights;           // [B, heads, T, T] or undefined
    torch::Tensor last, context;     // [B, H], at the last event
    torch::Tensor past;              // [B, factors], what the profile knows of the events; undefined: nothing
    torch::Tensor scene;             // [B], scene of the last event, the row's own where there is none
  };
  struct Output {
    Steps steps;
    torch::Tensor logits;             // [B]
    torch::Tensor interest_logits;    // [B, K]
    torch::Tensor transition_logits;  // [B, K]
    torch::Tensor penalty;            // [], L2 of the looked-up rows
  };

  Steps follow(const data::Events& events, const torch::Tensor& scene, bool all_steps);
  torch::Tensor transition(const torch::Tensor& context, const torch::Tensor& interest, const torch::Tensor& from,
                           const torch::Tensor& to);
  torch::Tensor probabilities(const torch::Tensor& transition_logits) const;
  Output run(const data::Batch& batch, Steps steps);

  int64_t interests_ = 0;
  std::vector<int64_t> item_slots_;       // slots of `embedding` that describe the candidate item
  std::vector<int64_t> candidate_slots_;  // those and the context: who the user is, behaviour and profile tell
};
TORCH_MODULE(InterestMigration);

}  // namespace polyscene::models
