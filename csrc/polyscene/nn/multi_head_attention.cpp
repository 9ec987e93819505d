#include "polyscene/nn/multi_head_attention.h"

#include <cmath>
#include <limits>
#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/masks.h"

namespace polyscene::nn {

namespace {

constexpr const char* kMultiHead = "MultiHeadAttention";

torch::Tensor both_masks(const torch::Tensor& a, const torch::Tensor& b) { return a.defined() ? a & b : b; }

}  // namespace

MultiHeadAttentionImpl::MultiHeadAttentionImpl(int64_t size_, MultiHeadAttentionOptions options_)
    : size(size_), options(std::move(options_)) {
  check_positive(kMultiHead, "size", size);
  check_positive(kMultiHead, "heads", options.heads());
  check_dropout(kMultiHead, options.dropout());
  TORCH_CHECK_VALUE(options.hidden() >= 0, kMultiHead, ": hidden must not be negative, got ", options.hidden());
  TORCH_CHECK_VALUE(options.key_size() >= 0, kMultiHead, ": key_size must not be negative, got ", options.key_size());
  TORCH_CHECK_VALUE(options.scale() == "head" || options.scale() == "hidden", kMultiHead,
                    ": scale must be head or hidden, got '", options.scale(), "'");
  const auto hidden = options.hidden() > 0 ? options.hidden() : size;
  TORCH_CHECK_VALUE(hidden % options.heads() == 0, kMultiHead, ": heads must divide the hidden width, got ",
                    options.heads(), " heads and width ", hidden);
  reset();
}

void MultiHeadAttentionImpl::reset() {
  const auto hidden = options.hidden() > 0 ? options.hidden() : size;
  const auto keys = options.key_size() > 0 ? options.key_size() : size;
  const auto linear = [&](int64_t from, int64_t to) {
    return torch::nn::Linear(torch::nn::LinearOptions(from, to).bias(options.bias()));
  };
  query_projection = register_module("query_projection", linear(size, hidden));
  key_projection = register_module("key_projection", linear(keys, hidden));
  value_projection = register_module("value_projection", linear(keys, hidden));
  output_projection = register_module("output_projection", linear(hidden, size));
}

MultiHeadAttentionImpl::Heads MultiHeadAttentionImpl::project(const torch::Tensor& query, const torch::Tensor& key,
                                                              const torch::Tensor& value,
                                                              const std::optional<torch::Tensor>& valid,
                                                              const std::optional<torch::Tensor>& mask) {
  check_sequence(kMultiHead, "query", query, size);
  check_sequence(kMultiHead, "key", key, options.key_size() > 0 ? options.key_size() : size);
  TORCH_CHECK_VALUE(value.sizes() == key.sizes(), kMultiHead, ": value must have the shape of key, ", key.sizes(),
                    ", got ", value.sizes());
  TORCH_CHECK_VALUE(query.size(0) == key.size(0), kMultiHead, ": query and key must have one batch size, got ",
                    query.size(0), " and ", key.size(0));
  const auto queries = query.size(1);
  const auto keys = key.size(1);
  Heads out;
  torch::Tensor k = key;
  torch::Tensor v = value;
  if (valid) {
    TORCH_CHECK_VALUE(valid->scalar_type() == torch::kBool && valid->dim() == 2 && valid->size(0) == key.size(0) &&
                          valid->size(1) == keys,
                      kMultiHead, ": valid must be bool [", key.size(0), ", ", keys, "], got ", valid->scalar_type(),
                      " ", valid->sizes());
    out.allowed = valid->unsqueeze(1).unsqueeze(1);  // [B, 1, 1, Tk]
    k = zero_padding(key, *valid);
    v = value.is_same(key) ? k : zero_padding(value, *valid);
  }
  if (options.causal()) {
    TORCH_CHECK_VALUE(queries == keys, kMultiHead, ": causal attention needs as many queries as keys, got ", queries,
                      " and ", keys);
    out.allowed = both_masks(out.allowed, causal_mask(keys, key.device()));
  }
  if (mask) {
    TORCH_CHECK_VALUE((mask->dim() == 2 || (mask->dim() == 3 && mask->size(0) == key.size(0))) &&
                          mask->size(-2) == queries && mask->size(-1) == keys,
                      kMultiHead, ": mask must be [", queries, ", ", keys, "] or [", key.size(0), ", ", queries, ", ",
                      keys, "], got ", mask->sizes());
    const auto wide = mask->dim() == 3 ? mask->unsqueeze(1) : *mask;
    if (wide.scalar_type() == torch::kBool) {
      out.allowed = both_masks(out.allowed, wide);
    } else {
      TORCH_CHECK_VALUE(wide.is_floating_point(), kMultiHead, ": mask must be bool or floating, got ",
                        wide.scalar_type());
      const auto may = wide != -std::numeric_limits<double>::infinity();
      out.allowed = both_masks(out.allowed, may);
      out.added = wide.masked_fill(~may, 0).to(query.scalar_type());
    }
  }
  const auto split = [&](const torch::Tensor& x) {
    return x.unflatten(-1, {options.heads(), -1}).transpose(1, 2);  // [B, heads, T, H / heads]
  };
  out.query = split(dense(query, *query_projection));
  out.key = split(dense(k, *key_projection));
  out.value = split(dense(v, *value_projection));
  const auto width = out.query.size(-1) * (options.scale() == "head" ? 1 : options.heads());
  out.scale = 1 / std::sqrt(static_cast<double>(width));
  return out;
}

torch::Tensor MultiHeadAttentionImpl::merge(const torch::Tensor& heads) {
  return dense(heads.transpose(1, 2).flatten(2), *output_projection);  // [B, Tq, size]
}

torch::Tensor MultiHeadAttentionImpl::forward(const torch::Tensor& query, const torch::Tensor& key,
                                              const torch::Tensor& value, const std::optional<torch::Tensor>& valid,
                                              const std::optional<torch::Tensor>& mask) {
  const auto h = project(query, key, value, valid, mask);
  std::optional<torch::Tensor> allowed;
  if (h.added.defined()) {
    allowed = h.added.masked_fill(~h.allowed, -std::numeric_limits<double>::infinity());
  } else if (h.allowed.defined()) {
    allowed = h.allowed;
  }
  const auto dropout = is_training() ? options.dropout() : 0.0;
  return merge(
      at::scaled_dot_product_attention(h.query, h.key, h.value, allowed, dropout, /*is_causal=*/false, h.scale));
}

Attended MultiHeadAttentionImpl::attend(const torch::Tensor& query, const torch::Tensor& key,
                                        const torch::Tensor& value, const std::optional<torch::Tensor>& valid,
                                        const std::optional<torch::Tensor>& mask) {
  const auto h = project(query, key, value, valid, mask);
  auto scores = (h.query * h.scale).matmul(h.key.transpose(-2, -1));  // [B, heads, Tq, Tk]
  if (h.added.defined()) {
    scores = scores + h.added;
  }
  const auto weights = h.allowed.defined() ? masked_softmax(scores, h.allowed) : scores.softmax(-1);
  const auto dropped = torch::dropout(weights, options.dropout(), is_training());
  return {merge(dropped.matmul(h.value)), weights};
}

}  // namespace polyscene::nn
