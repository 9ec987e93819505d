#include "polyscene/nn/attention.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/masks.h"

namespace polyscene::nn {

namespace {

const std::vector<std::string> kAttentionScores = {"dot", "scaled_dot", "cosine", "additive", "bilinear"};

torch::Tensor unit_rows(const torch::Tensor& x) { return x / x.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-8); }

void init_score_weight(torch::Tensor& weight) {
  torch::NoGradGuard no_grad;
  const auto bound = 1 / std::sqrt(static_cast<double>(weight.size(-1)));
  weight.uniform_(-bound, bound);
}

}  // namespace

torch::Tensor dot_scores(const torch::Tensor& query, const torch::Tensor& key) {
  return query.matmul(key.transpose(-2, -1));
}

torch::Tensor scaled_dot_scores(const torch::Tensor& query, const torch::Tensor& key) {
  return dot_scores(query / std::sqrt(static_cast<double>(query.size(-1))), key);
}

torch::Tensor cosine_scores(const torch::Tensor& query, const torch::Tensor& key) {
  return dot_scores(unit_rows(query), unit_rows(key));
}

torch::Tensor additive_scores(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& query_weight,
                              const torch::Tensor& key_weight, const torch::Tensor& bias, const torch::Tensor& vector) {
  const auto q = torch::linear(query, query_weight, bias).unsqueeze(-2);  // [B, Tq, 1, A]
  const auto k = torch::linear(key, key_weight).unsqueeze(-3);            // [B, 1, Tk, A]
  return (q + k).tanh().matmul(vector);                                   // [B, Tq, Tk]
}

torch::Tensor bilinear_scores(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& weight) {
  return dot_scores(query.matmul(weight), key);
}

AttentionScoreImpl::AttentionScoreImpl(int64_t query_size_, int64_t key_size_, AttentionOptions options_)
    : query_size(query_size_), key_size(key_size_), options(std::move(options_)) {
  check_positive("AttentionScore", "query_size", query_size);
  check_positive("AttentionScore", "key_size", key_size);
  TORCH_CHECK_VALUE(
      std::find(kAttentionScores.begin(), kAttentionScores.end(), options.score()) != kAttentionScores.end(),
      "AttentionScore: score must be one of ", join(kAttentionScores), ", got '", options.score(), "'",
      suggestion(options.score(), kAttentionScores));
  TORCH_CHECK_VALUE(options.hidden() >= 0, "AttentionScore: hidden must not be negative, got ", options.hidden());
  TORCH_CHECK_VALUE(query_size == key_size || options.score() == "additive" || options.score() == "bilinear",
                    "AttentionScore: score '", options.score(), "' needs queries and keys of one width, got ",
                    query_size, " and ", key_size, "; use additive or bilinear");
  reset();
}

void AttentionScoreImpl::reset() {
  if (options.score() == "additive") {
    const auto width = options.hidden() > 0 ? options.hidden() : key_size;
    query_weight = register_parameter("query_weight", torch::empty({width, query_size}));
    key_weight = register_parameter("key_weight", torch::empty({width, key_size}));
    bias = register_parameter("bias", torch::empty({width}));
    vector = register_parameter("vector", torch::empty({width}));
  } else if (options.score() == "bilinear") {
    weight = register_parameter("weight", torch::empty({query_size, key_size}));
  }
  reset_parameters();
}

void AttentionScoreImpl::reset_parameters() {
  for (auto* tensor : {&query_weight, &key_weight, &vector, &weight}) {
    if (tensor->defined()) {
      init_score_weight(*tensor);
    }
  }
  if (bias.defined()) {
    torch::nn::init::zeros_(bias);
  }
}

torch::Tensor AttentionScoreImpl::forward(const torch::Tensor& query, const torch::Tensor& key) {
  check_sequence("AttentionScore", "query", query, query_size);
  check_sequence("AttentionScore", "key", key, key_size);
  if (options.score() == "additive") {
    return additive_scores(query, key, query_weight, key_weight, bias, vector);
  }
  if (options.score() == "bilinear") {
    return bilinear_scores(query, key, weight);
  }
  if (options.score() == "cosine") {
    return cosine_scores(query, key);
  }
  return options.score() == "dot" ? dot_scores(query, key) : scaled_dot_scores(query, key);
}

AttentionImpl::AttentionImpl(int64_t query_size_, int64_t key_size_, AttentionOptions options_)
    : query_size(query_size_), key_size(key_size_), options(std::move(options_)) {
  reset();
}

void AttentionImpl::reset() { score = register_module("score", AttentionScore(query_size, key_size, options)); }

torch::Tensor AttentionImpl::forward(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                                     const std::optional<torch::Tensor>& mask) {
  return attend(query, key, value, mask).output;
}

Attended AttentionImpl::attend(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                               const std::optional<torch::Tensor>& mask) {
  TORCH_CHECK_VALUE(value.dim() == 3 && value.size(1) == key.size(1), "Attention: value must be [B, ", key.size(1),
                    ", Dv], as many as keys, got ", value.sizes());
  const auto scores = score->forward(query, key);                                  // [B, Tq, Tk]
  const auto weights = mask ? masked_softmax(scores, *mask) : scores.softmax(-1);  // [B, Tq, Tk]
  return {weights.matmul(value), weights};
}

}  // namespace polyscene::nn
