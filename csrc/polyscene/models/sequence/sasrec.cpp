#include "polyscene/models/sequence/sasrec.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "polyscene/core/errors.h"
#include "polyscene/models/sequence/layers.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/layer_norm_activation.h"
#include "polyscene/nn/one_row.h"
#include "polyscene/nn/ragged_attention.h"

namespace polyscene::models {
namespace {

constexpr double kPaperEps = 1e-8;  // of the paper's code

}  // namespace

SASRecImpl::SASRecImpl(std::shared_ptr<const data::Schema> schema, SASRecOptions options_)
    : SequenceModel(std::move(schema), options_.common, "SASRec", {"bce", "ce", "bpr"}), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.layers() > 0, "SASRec: layers must be positive, got ", options.layers());
  TORCH_CHECK_VALUE(options.heads() > 0 && common.dim() % options.heads() == 0, "SASRec: heads must divide dim (",
                    common.dim(), "), got ", options.heads());
  TORCH_CHECK_VALUE(options.norm() == "pre" || options.norm() == "post", "SASRec: norm must be 'pre' or 'post', got '",
                    options.norm(), "'");
  TORCH_CHECK_VALUE(options.positions() == "newest" || options.positions() == "oldest",
                    "SASRec: positions must be 'newest' or 'oldest', got '", options.positions(), "'");
  TORCH_CHECK_VALUE(options.feedforward() >= 0, "SASRec: feedforward must be 0 or more, got ", options.feedforward());
  const auto dim = common.dim();
  const auto width = options.feedforward() > 0 ? options.feedforward() : pre() ? dim : 4 * dim;
  const auto std = pre() ? 1 / std::sqrt(static_cast<double>(dim)) : 0.02;
  positions = register_parameter("positions", torch::empty({common.max_length(), dim}).normal_(0, std));
  query = register_module("query", torch::nn::ModuleList());
  key_value = register_module("key_value", torch::nn::ModuleList());
  output = register_module("output", torch::nn::ModuleList());
  inner = register_module("inner", torch::nn::ModuleList());
  outer = register_module("outer", torch::nn::ModuleList());
  attention_norm = register_module("attention_norm", torch::nn::ModuleList());
  feedforward_norm = register_module("feedforward_norm", torch::nn::ModuleList());
  for (int64_t n = 0; n < options.layers(); ++n) {
    query->push_back(torch::nn::Linear(dim, dim));
    key_value->push_back(torch::nn::Linear(dim, 2 * dim));
    if (!pre()) output->push_back(torch::nn::Linear(dim, dim));
    inner->push_back(torch::nn::Linear(dim, width));
    outer->push_back(torch::nn::Linear(width, dim));
    attention_norm->push_back(norm_layer(dim, kPaperEps));
    feedforward_norm->push_back(norm_layer(dim, kPaperEps));
  }
  norm = register_module("norm", norm_layer(dim, kPaperEps));
}

torch::Tensor SASRecImpl::drop(const torch::Tensor& x) { return nn::drop(x, common.dropout(), is_training()); }

torch::Tensor SASRecImpl::through(const torch::Tensor& items, const torch::Tensor& position,
                                  const Attention& attention) {
  const auto attend = [&](int64_t n, const torch::Tensor& from, const torch::Tensor& to) {
    return attention(n, nn::dense(from, query, n), nn::dense(to, key_value, n));
  };
  if (pre()) {
    auto x = drop(items * std::sqrt(static_cast<double>(common.dim())) + position);
    for (int64_t n = 0; n < options.layers(); ++n) {
      const auto u = nn::layer_norm(x, attention_norm, n);
      const auto y = nn::layer_norm(u + attend(n, u, x), feedforward_norm, n);
      x = y + drop(nn::dense(drop(nn::dense(y, inner, n).relu()), outer, n));
    }
    return nn::layer_norm(x, *norm);
  }
  auto x = drop(nn::layer_norm(items + position, *norm));
  for (int64_t n = 0; n < options.layers(); ++n) {
    const auto y = nn::layer_norm(x + drop(nn::dense(attend(n, x, x), output, n)), attention_norm, n);
    x = nn::layer_norm(y + drop(nn::dense(torch::gelu(nn::dense(y, inner, n)), outer, n)), feedforward_norm, n);
  }
  return x;
}

torch::Tensor SASRecImpl::states(const torch::Tensor& items, const data::Events& events) {
  return encoded(items, events, nullptr);
}

torch::Tensor SASRecImpl::newest_weights(const data::Events& events) {
  torch::Tensor out;
  encoded(vectors(events.item.to(torch::kInt64)), events, &out);
  return out;
}

torch::Tensor SASRecImpl::encoded(const torch::Tensor& items, const data::Events& events, torch::Tensor* weights) {
  const auto lengths = events.offsets.diff();
  auto place = torch::arange(items.size(0)) - events.offsets.slice(0, 0, -1).repeat_interleave(lengths);
  if (options.positions() == "newest") place = place + (common.max_length() - lengths).repeat_interleave(lengths);
  const auto dropout = is_training() ? common.dropout() : 0;
  return through(items, positions.index_select(0, place),
                 [&](int64_t n, const torch::Tensor& q, const torch::Tensor& kv) {
                   if (weights && n + 1 == options.layers()) {
                     *weights = newest_weights_of(q, kv, events.offsets, options.heads());
                   }
                   return nn::ragged_attention(q, kv, events.offsets, options.heads(), /*causal=*/true, dropout);
                 });
}

template <typename T>
void SASRecImpl::through_row(T* x, Memory& memory) const {
  const auto dim = common.dim(), place = memory.events;
  const auto linear = [](const torch::nn::ModuleList& layers, int64_t n) -> const torch::nn::LinearImpl& {
    return layers->at<torch::nn::LinearImpl>(n);
  };
  const auto norm_at = [](const torch::nn::ModuleList& layers, int64_t n) -> const torch::nn::LayerNormImpl& {
    return layers->at<torch::nn::LayerNormImpl>(n);
  };
  const auto* position = positions.const_data_ptr<T>() + place * dim;
  const auto scale = pre() ? static_cast<T>(std::sqrt(static_cast<double>(dim))) : T(1);
  for (int64_t d = 0; d < dim; ++d) x[d] = scale * x[d] + position[d];
  if (!pre()) nn::norm_row(*norm, nullptr, x);
  std::vector<T> y(dim), q(dim), attended(dim), hidden(linear(inner, 0).weight.size(0)), weights(place + 1);
  for (int64_t n = 0; n < options.layers(); ++n) {
    auto* kept = memory.parts[n].data_ptr<T>();
    std::copy(x, x + dim, y.begin());
    if (pre()) nn::norm_row(norm_at(attention_norm, n), nullptr, y.data());
    nn::linear_row(linear(query, n), y.data(), q.data());
    nn::linear_row(linear(key_value, n), x, kept + place * 2 * dim);
    nn::attend_newest(q.data(), kept, place + 1, dim, options.heads(), attended.data(), weights.data());
    if (!pre()) {
      std::copy(attended.begin(), attended.end(), q.begin());
      nn::linear_row(linear(output, n), q.data(), attended.data());
    }
    nn::norm_row(norm_at(pre() ? feedforward_norm : attention_norm, n), attended.data(), y.data());
    nn::linear_row(linear(inner, n), y.data(), hidden.data());
    for (auto& h : hidden) h = pre() ? std::max(h, T(0)) : h * T(0.5) * (1 + std::erf(h * static_cast<T>(M_SQRT1_2)));
    nn::linear_row(linear(outer, n), hidden.data(), x);
    if (pre()) {
      for (int64_t d = 0; d < dim; ++d) x[d] += y[d];
    } else {
      nn::norm_row(norm_at(feedforward_norm, n), y.data(), x);
    }
  }
  if (pre()) nn::norm_row(*norm, nullptr, x);
}

torch::Tensor SASRecImpl::step(const torch::Tensor& item, Memory& memory) {
  if (!remembers()) return SequenceModel::step(item, memory);
  const auto place = memory.events, dim = common.dim();
  memory.parts.resize(options.layers());
  for (auto& kept : memory.parts) {
    if (!kept.defined()) kept = torch::empty({common.max_length(), 2 * dim}, item.options());
  }
  if (item.device().is_cpu() && (item.scalar_type() == torch::kFloat32 || item.scalar_type() == torch::kFloat64)) {
    auto state = item.clone();
    AT_DISPATCH_FLOATING_TYPES(item.scalar_type(), "sasrec", [&] { through_row(state.data_ptr<scalar_t>(), memory); });
    return state;
  }
  return through(item, positions.narrow(0, place, 1), [&](int64_t n, const torch::Tensor& q, const torch::Tensor& kv) {
    memory.parts[n].narrow(0, place, 1).copy_(kv);
    return nn::attend_newest(q, memory.parts[n].narrow(0, 0, place + 1), options.heads());
  });
}

}  // namespace polyscene::models
