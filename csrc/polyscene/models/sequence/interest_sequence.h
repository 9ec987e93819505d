#pragma once

#include "polyscene/models/sequence_model.h"
#include "polyscene/nn/encoder.h"

namespace polyscene::models {

/// Options for `InterestSequence`.
struct InterestSequenceOptions {
  SequenceOptions common;
  /// gru, lstm, cnn or transformer.
  TORCH_ARG(std::string, encoder) = "gru";
  /// Layers of the encoder.
  TORCH_ARG(int64_t, layers) = 1;
  /// Heads of the attention over states; must divide `dim`.
  TORCH_ARG(int64_t, heads) = 2;
  /// Latent interests where the data names none (K).
  TORCH_ARG(int64_t, interests) = 8;
  /// "softmax" or "bernoulli".
  TORCH_ARG(std::string, transition) = "softmax";
  /// Whether attention of interests knows times.
  TORCH_ARG(bool, gaps) = true;
  /// Weight of the loss of the interests now.
  TORCH_ARG(double, interest_weight) = 0.1;
  /// Weight of the loss of the next interest.
  TORCH_ARG(double, transition_weight) = 0.1;
  /// Weight of the loss of the next scene.
  TORCH_ARG(double, scene_weight) = 0.1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SequenceOptions::fields(self.common, visit);
    visit("encoder", self.encoder(), "gru, lstm, cnn or transformer");
    visit("layers", self.layers(), "layers of the encoder");
    visit("heads", self.heads(), "heads of the attention over states; must divide dim");
    visit("interests", self.interests(), "latent interests where the data names none");
    visit("transition", self.transition(), "softmax: one next interest; bernoulli: each interest on its own");
    visit("gaps", self.gaps(), "whether what an interest reads depends on how long ago an event was");
    visit("interest_weight", self.interest_weight(), "weight of the loss of the interests at an event");
    visit("transition_weight", self.transition_weight(), "weight of the loss of the next interest");
    visit("scene_weight", self.scene_weight(), "weight of the loss of the next scene");
  }
};

/// Interest migration for events: which interests somebody has, which one and which scene come next, and which item.
///
///   h_t = encoder(x_1 .. x_t),  x_j = q_{i_j} + e_{s_j} + sum of g_k over the interests k of event j
///   c_t = attention(h_t; h_1 .. h_t),   y_t = sigma(W_h [c_t; h_t] + b_h)                    interests now, [K]
///   p(y_{t+1} | y_t) = softmax or sigma(W_p [c_t; y_t] + b_p + y_t A[s_t, s])                s: the scene asked for
///   p(s_{t+1}) = softmax(W_s [c_t; y_t] + b_s + log n(s_t, s_{t+1}))
///   v_k = sum_{j <= t} softmax_j(u_k . tanh(W_a h_j + b_a) + a_k[t - j] + b_k[gap(t, j)] + c_k[s, s_j]) h_j
///   z = W_z [c_t; h_t; sum_k p_k v_k] + b_z + W_m p + o_s,    r_i = z . q_i,  i of s
///
/// Interests are extracted as ComiRec's self-attention does (Cen et al., KDD 2020), one vector v_k for each, with
/// biases of what lies between (as T5 and TiSASRec know it, Li et al., WSDM 2020): the number of events, the time in
/// steps of powers of two seconds, and the scenes of asking and of the event. n are the shares of scenes that followed
/// each scene in training rows, each counted once more, so that the model starts as their chain. A [S, S, K, K] is what
/// an ordered pair of scenes adds to the move of interests. The interests expected next weigh the vectors, so that one
/// state of width D remains and any scene is asked at the cost of one. The loss is that of the items and, each with its
/// weight, of the interests of an event (binary cross-entropy), of those of the event that followed, and of its scene;
/// steps whose next event augmentation hides teach no interest. Shapes: L events, D dim, K interests, S scenes, T
/// max_length; a step costs O(K D) for each event before it.
class InterestSequenceImpl : public SequenceModel {
 public:
  /// Throws ValueError when the data names no user or no item, or for options out of range.
  explicit InterestSequenceImpl(std::shared_ptr<const data::Schema> schema, InterestSequenceOptions options = {});
  void prepare(const data::Table& train) override;
  torch::Tensor loss(const data::Batch& batch) override;
  /// "state" [B, D]; "attention" [B, K, T], what each interest reads of the events of each row, oldest first, 0 on
  /// those that are not followed; "events" [B], how many there are; "interests" [B, K], "transitions" [B, K] and
  /// "next_scene" [B, S], all 0 for a row without events that count.
  Explanation explain(const data::Batch& batch) override;
  std::string name() const override { return "interest_sequence"; }
  OptionMap options_map() const override { return to_map(options); }
  int64_t num_interests() const { return interests_; }  ///< K

  /// Mean predicted p(y' | y = i) over the training events that go from scene `from` to scene `to`, [K, K]; rows
  /// without such events are the prediction of the pair's matrix alone. Throws ValueError before training.
  torch::Tensor transition_matrix(int64_t from, int64_t to) override;

  InterestSequenceOptions options;
  nn::SequenceEncoder encoder = nullptr;
  torch::nn::Linear query = nullptr, key_value = nullptr;  ///< of c
  torch::nn::Linear interest_head = nullptr;               ///< W_h, b_h
  torch::nn::Linear transition_head = nullptr;             ///< W_p, b_p
  torch::nn::Linear scene_head = nullptr;                  ///< W_s, b_s
  torch::nn::Linear extraction = nullptr;                  ///< W_a, b_a
  torch::nn::Linear state_projection = nullptr;            ///< W_z, b_z
  torch::nn::Linear interest_projection = nullptr;         ///< W_m
  torch::Tensor event_interest;                            ///< g, [K, D]; empty where the data names no interests
  torch::Tensor interest_query;                            ///< u, [K, D]
  torch::Tensor interest_step_bias, interest_gap_bias,
      scene_pair_bias;             ///< a [T, K], b [32, K], c [S * S, K] (asked, of the event)
  torch::Tensor scene_transition;  ///< A, [S * S, K, K]
  torch::Tensor scene_followed;    ///< log n, [S, S], a buffer
  torch::Tensor asked_scene;       ///< o, [S, D]

 protected:
  torch::Tensor states_before(const data::Events& events, int64_t scene) override;

 private:
  struct Encoded {
    data::Events events;
    torch::Tensor states, contexts;  // [L, D]
    torch::Tensor interests;         // logits of y, [L, K]
  };
  struct Answer {
    torch::Tensor state;        // z, [n, D]
    torch::Tensor transitions;  // logits of p, [n, K]
    torch::Tensor next_scene;   // logits, [n, S]
    torch::Tensor attention;    // [B, Q, T, K]
  };
  Encoded encode_events(const data::Events& events);
  // What is asked after events `at` (int64 [n]) of scenes `asked` (int64 [n]): of every event of all lists, in their
  // order, or of the newest of each list that has any.
  Answer answer(const Encoded& encoded, const torch::Tensor& at, const torch::Tensor& asked, bool newest);
  Answer answer_newest(const Encoded& encoded, const torch::Tensor& asked);
  torch::Tensor transition(const torch::Tensor& context, const torch::Tensor& interest, const torch::Tensor& from,
                           const torch::Tensor& to);
  torch::Tensor probabilities(const torch::Tensor& logits) const;
  // What the events after those of a batch are about, [L, K]; rows of 0 where that is not known.
  torch::Tensor next_interests(const data::Batch& batch) const;
  torch::Tensor drop(const torch::Tensor& x);
  bool named() const { return schema().num_interests() > 0; }

  int64_t interests_ = 0;
};
TORCH_MODULE(InterestSequence);

}  // namespace polyscene::models
