#pragma once

#include <torch/torch.h>

#include <optional>
#include <string>

#include "polyscene/core/options.h"

namespace polyscene::nn {

// Shapes: B batch, Tq queries, Tk keys, A width of the additive layer.

/// q . k. query: [B, Tq, D], key: [B, Tk, D]. Returns [B, Tq, Tk] (Luong et al., EMNLP 2015).
torch::Tensor dot_scores(const torch::Tensor& query, const torch::Tensor& key);
/// q . k / sqrt(D) (Vaswani et al., NeurIPS 2017).
torch::Tensor scaled_dot_scores(const torch::Tensor& query, const torch::Tensor& key);
/// q . k / (|q| |k|), norms no smaller than 1e-8 (Graves et al., arXiv:1410.5401, 2014).
torch::Tensor cosine_scores(const torch::Tensor& query, const torch::Tensor& key);
/// v . tanh(W_q q + W_k k + b), W_q: [A, Dq], W_k: [A, Dk], b: [A], v: [A] (Bahdanau et al., ICLR 2015).
torch::Tensor additive_scores(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& query_weight,
                              const torch::Tensor& key_weight, const torch::Tensor& bias, const torch::Tensor& vector);
/// q W k, W: [Dq, Dk] (Luong et al., EMNLP 2015, "general").
torch::Tensor bilinear_scores(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& weight);

/// What an attention gives: o_i = sum_j a_ij v_j and the weights a_ij.
struct Attended {
  torch::Tensor output;
  torch::Tensor weights;
};

/// Options for `AttentionScore` and `Attention`.
struct AttentionOptions {
  /// dot, scaled_dot, cosine, additive or bilinear.
  TORCH_ARG(std::string, score) = "scaled_dot";
  /// Width of the additive layer (A); 0: the width of the keys.
  TORCH_ARG(int64_t, hidden) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("score", self.score(), "how a query meets a key: dot, scaled_dot, cosine, additive or bilinear");
    visit("hidden", self.hidden(), "width of the layer of additive scores; 0: the width of the keys");
  }
};

/// Scores of queries against keys, with the parameters that additive and bilinear scores need.
class AttentionScoreImpl : public torch::nn::Cloneable<AttentionScoreImpl> {
 public:
  AttentionScoreImpl(int64_t query_size, int64_t key_size, AttentionOptions options = {});
  void reset() override;
  void reset_parameters();
  /// query: [B, Tq, query_size], key: [B, Tk, key_size]. Returns [B, Tq, Tk].
  torch::Tensor forward(const torch::Tensor& query, const torch::Tensor& key);

  int64_t query_size;
  int64_t key_size;
  AttentionOptions options;
  torch::Tensor query_weight;  ///< additive: [A, query_size]
  torch::Tensor key_weight;    ///< additive: [A, key_size]
  torch::Tensor bias;          ///< additive: [A]
  torch::Tensor vector;        ///< additive: [A]
  torch::Tensor weight;        ///< bilinear: [query_size, key_size]
};
TORCH_MODULE(AttentionScore);

/// One attention: a_i = softmax_j(score(q_i, k_j)), o_i = sum_j a_ij v_j (Bahdanau et al., ICLR 2015). A query with
/// nothing to attend to has weights and output 0.
class AttentionImpl : public torch::nn::Cloneable<AttentionImpl> {
 public:
  AttentionImpl(int64_t query_size, int64_t key_size, AttentionOptions options = {});
  void reset() override;
  /// Output [B, Tq, Dv]; arguments as for `attend`.
  torch::Tensor forward(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                        const std::optional<torch::Tensor>& mask = {});
  /// query: [B, Tq, query_size], key: [B, Tk, key_size], value: [B, Tk, Dv], mask: bool, broadcasts to [B, Tq, Tk].
  /// Returns output [B, Tq, Dv] and weights [B, Tq, Tk].
  Attended attend(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                  const std::optional<torch::Tensor>& mask = {});

  int64_t query_size;
  int64_t key_size;
  AttentionOptions options;
  AttentionScore score = nullptr;
};
TORCH_MODULE(Attention);

}  // namespace polyscene::nn
