#pragma once

#include "polyscene/models/base.h"
#include "polyscene/nn/dense_attention_head.h"
#include "polyscene/nn/feature_embedding.h"
#include "polyscene/nn/interest_points.h"
#include "polyscene/nn/multi_head_attention.h"

namespace polyscene::models {

/// Options for `AttentionTransfer`.
struct AttentionTransferOptions {
  TORCH_ARG(int64_t, dim) = 16;
  TORCH_ARG(int64_t, hidden) = 64;
  TORCH_ARG(bool, attention) = true;
  TORCH_ARG(int64_t, heads) = 2;
  TORCH_ARG(int64_t, points) = 32;
  TORCH_ARG(int64_t, kernel) = 3;
  TORCH_ARG(int64_t, max_length) = 20;
  TORCH_ARG(std::string, training) = "transfer";
  TORCH_ARG(std::string, target) = "";
  TORCH_ARG(std::vector<std::string>, sources) = {};
  TORCH_ARG(double, target_lr) = 1;
  TORCH_ARG(double, dropout) = 0.1;
  TORCH_ARG(double, embedding_l2) = 1e-2;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim(), "width of the embeddings of fields and events (D)");
    visit("hidden", self.hidden(), "width of the dense layer (H)");
    visit("attention", self.attention(), "false: the same network without its attentions");
    visit("heads", self.heads(), "heads of the attention over events; must divide dim");
    visit("points", self.points(), "interest points (P)");
    visit("kernel", self.kernel(), "events that a filter of the interest points spans; odd");
    visit("max_length", self.max_length(), "how many past events are followed, the newest (T)");
    visit("training", self.training(),
          "transfer: the sources, then carried into the target; joint: all scenes at once; target: the target alone");
    visit("target", self.target(), "name of the target scene; empty: the one with the fewest training rows");
    visit("sources", self.sources(), "names of the source scenes; empty: all but the target");
    visit("target_lr", self.target_lr(), "learning rate in the target as a share of that in the sources");
    visit("dropout", self.dropout(), "dropout of the dense layer's input");
    visit("embedding_l2", self.embedding_l2(), "L2 on the rows looked up, in the target on what was added to them");
  }
};

/// Interest points under attention, carried from source scenes into a target scene: the reference model of the toolkit.
///
///   c_t   = attention(x_t; x_1 .. x_t)             x_t: item and label of event t; without attention c_t = x_t
///   z     = interest points(c)                     filters over time, their strongest answers
///   d     = relu(W [e; numeric; z] + b)            e: embedded fields of the row
///   logit = mu + b_s + W_o [d; softmax(W_a d) * d] + b_o                    without attention W_o d + b_o
///
/// Training in two phases: the sources fit all of it; then attention and filters stand still, the target takes over
/// every parameter and learns what it adds to it, theta_target = theta_source + delta with delta = 0 at first, for the
/// embedding, W, b, W_a, W_o and b_o. So rows of other scenes keep the answers that the sources gave them. L2 acts on
/// the rows looked up in the sources, on their deltas in the target: it draws the target to the sources and not to 0.
///
/// Data without a user or an item column have no events: attention and filters then run over the row's fields. Shapes:
/// B batch, T events or fields, D embedding, P points, H hidden, S scenes.
class AttentionTransferImpl : public Model {
 public:
  /// Throws ValueError for an unknown target or source, a target among the sources, and options out of range.
  explicit AttentionTransferImpl(std::shared_ptr<const data::Schema> schema, AttentionTransferOptions options = {});

  /// Logits [B].
  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner) override;
  torch::Tensor loss(const data::Batch& batch) override;
  /// interest_points [B, P], strongest [B, P] (the event of each point), gates [B, H]; with events also attention [B,
  /// heads, T] of the last event and events [B] (how many of the T count).
  Explanation explain(const data::Batch& batch) override;
  /// "source" and "target" when parameters are carried over, else "fit" or "target" alone.
  std::vector<Phase> phases() const override;
  int64_t history_length() const override { return follows_events() ? options.max_length() : 0; }
  std::string name() const override { return "attention_transfer"; }
  OptionMap options_map() const override { return to_map(options); }
  int64_t target() const { return target_; }  ///< the target scene

  AttentionTransferOptions options;
  nn::FeatureEmbedding embedding = nullptr;
  nn::MultiHeadAttention attention = nullptr;  ///< empty without attention
  nn::InterestPoints points = nullptr;
  nn::DenseAttentionHead head = nullptr;
  nn::FeatureEmbedding target_embedding = nullptr;  ///< deltas; this and the next three are empty unless carried over
  torch::nn::Linear target_dense = nullptr;         ///< delta of W, b
  torch::nn::Linear target_gate = nullptr;          ///< delta of W_a; empty without attention
  torch::nn::Linear target_output = nullptr;        ///< delta of W_o, b_o
  torch::Tensor event_label;                        ///< [2, D], what an event's label adds; undefined without events
  torch::Tensor scene_bias;                         ///< [S]
  torch::Tensor base;                               ///< mu, [], log-odds of the training labels, a buffer

 private:
  struct Interest {
    torch::Tensor points, steps;  // [B, P]
    torch::Tensor valid;          // [B, T]
    torch::Tensor weights;        // [B, heads, T, T] or undefined
  };
  struct Output {
    torch::Tensor logits, gates, penalty;  // [B], [B, H], []
  };

  bool follows_events() const { return schema().user >= 0 && schema().item >= 0; }
  torch::Tensor in_target(const torch::Tensor& scene) const;  // bool [B]; undefined when no row is
  torch::Tensor embedded(const data::Batch& batch, const torch::Tensor& target, torch::Tensor* penalty);
  Interest from_events(const data::Events& events, const torch::Tensor& target, bool explain);
  Interest extract(const torch::Tensor& x, const torch::Tensor& valid, bool explain);
  Output respond(const data::Batch& batch, const torch::Tensor& slots, const torch::Tensor& z,
                 const torch::Tensor& target);
  Output run(const data::Batch& batch, Interest* interest, bool explain);

  int64_t target_ = 0;
  std::vector<std::string> sources_;
};
TORCH_MODULE(AttentionTransfer);

}  // namespace polyscene::models
