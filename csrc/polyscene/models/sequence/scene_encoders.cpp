#include "polyscene/models/sequence/scene_encoders.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "polyscene/nn/dropout.h"
#include "polyscene/nn/layer_norm_activation.h"
#include "polyscene/nn/lookup.h"
#include "polyscene/nn/ragged_attention.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

constexpr double kEncoderEps = 1e-8;  // of SASRec's code

}  // namespace

SceneEncodersImpl::SceneEncodersImpl(int64_t encoders_, int64_t dim_, SceneEncodersOptions options_)
    : encoders(encoders_), dim(dim_), options(options_) {
  reset();
}

void SceneEncodersImpl::reset() {
  const auto layers = options.layers();
  const auto bound = 1 / std::sqrt(static_cast<double>(dim));
  positions = register_parameter("positions", torch::empty({encoders * options.max_length(), dim}).normal_(0, bound));
  const auto linear = [&](const std::string& name, int64_t out, Tensor& weight, Tensor& bias) {
    weight = register_parameter(name, torch::empty({layers, encoders, 1, out, dim}).uniform_(-bound, bound));
    bias = register_parameter(name + "_bias", torch::empty({layers, encoders, 1, out}).uniform_(-bound, bound));
  };
  linear("query", dim, query, query_bias);
  linear("key_value", 2 * dim, key_value, key_value_bias);
  linear("inner", dim, inner, inner_bias);
  linear("outer", dim, outer, outer_bias);
  const auto norm = [&](const std::string& name, int64_t count, Tensor& scale, Tensor& shift) {
    scale = register_parameter(name + "_scale", torch::ones({count, encoders, 1, dim}));
    shift = register_parameter(name + "_shift", torch::zeros({count, encoders, 1, dim}));
  };
  norm("attention", layers, attention_scale, attention_shift);
  norm("feedforward", layers, feedforward_scale, feedforward_shift);
  norm("norm", 1, norm_scale, norm_shift);
}

Tensor SceneEncodersImpl::forward(const Tensor& v, const EncodedLists& lists) {
  const auto& groups = lists.groups;
  if (v.size(0) == 0) return v;
  const auto lengths = lists.offsets.diff();
  auto place = torch::arange(v.size(0)) - lists.offsets.slice(0, 0, -1).repeat_interleave(lengths);
  if (options.newest()) place = place + (options.max_length() - lengths).repeat_interleave(lengths);
  for (int64_t e = 0; e < encoders; ++e) {
    place.slice(0, groups.offsets[e], groups.offsets[e + 1]).add_(e * options.max_length());
  }
  const auto dropout = is_training() ? options.dropout() : 0;
  const auto drop = [&](const Tensor& x) { return nn::drop(x, options.dropout(), is_training()); };
  const auto linear = [&](const Tensor& weight, const Tensor& bias, int64_t n, const Tensor& x) {
    return nn::scene_linear(x.unsqueeze(1), weight[n], bias[n], groups).squeeze(1);
  };
  const auto norm = [&](const Tensor& scale, const Tensor& shift, int64_t n, const Tensor& x) {
    return nn::layer_norm_activation(x.unsqueeze(1), scale[n], shift[n], "identity", groups, kEncoderEps).squeeze(1);
  };
  auto x = drop(v * std::sqrt(static_cast<double>(dim)) + rows_from(positions, place));  // [n, D]
  for (int64_t n = 0; n < options.layers(); ++n) {
    const auto u = norm(attention_scale, attention_shift, n, x);
    const auto read = nn::ragged_attention(linear(query, query_bias, n, u), linear(key_value, key_value_bias, n, x),
                                           lists.offsets, options.heads(), /*causal=*/true, dropout);
    const auto y = norm(feedforward_scale, feedforward_shift, n, u + read);
    x = y + drop(linear(outer, outer_bias, n, drop(linear(inner, inner_bias, n, y).relu())));
  }
  return norm(norm_scale, norm_shift, 0, x);
}

SceneViews scene_views(const data::Events& events, const Tensor& known, int64_t scenes) {
  const auto lists = events.offsets.numel() - 1;
  const auto list = events.scene * lists + torch::arange(lists).repeat_interleave(events.offsets.diff());
  const auto wanted = known.nonzero().squeeze(1);
  const auto mine = list.index_select(0, wanted);
  SceneViews out;
  out.event = wanted.index_select(0, mine.argsort(/*stable=*/true, 0, /*descending=*/false));
  out.place = torch::full({events.item.numel()}, -1, torch::kInt64);
  out.place.index_copy_(0, out.event, torch::arange(out.event.numel()));
  out.offsets = torch::constant_pad_nd(torch::bincount(mine, {}, scenes * lists).cumsum(0), {1, 0});
  for (int64_t s = 1; s <= scenes; ++s) out.groups.offsets.push_back(out.offsets[s * lists].item<int64_t>());
  return out;
}

Tensor newest_of(const data::Events& events, const SceneViews& views, const Tensor& wanted) {
  auto out = torch::full({events.item.numel()}, -1, torch::kInt64);
  const auto *at = events.offsets.const_data_ptr<int64_t>(), *scene = events.scene.const_data_ptr<int64_t>(),
             *place = views.place.const_data_ptr<int64_t>(), *asked = wanted.const_data_ptr<int64_t>();
  auto* to = out.data_ptr<int64_t>();
  std::vector<int64_t> newest(views.groups.scenes());
  for (int64_t b = 0; b + 1 < events.offsets.numel(); ++b) {
    std::fill(newest.begin(), newest.end(), -1);
    for (auto j = at[b]; j < at[b + 1]; ++j) {
      if (place[j] >= 0) newest[scene[j]] = j;
      if (asked[j] >= 0) to[j] = newest[asked[j]];
    }
  }
  return out;
}

Tensor rows_from(const Tensor& table, const Tensor& rows) {
  if (rows.numel() == 0) return table.narrow(0, 0, 0);
  nn::FieldRows all;
  all.add("row", table.size(0));
  return nn::lookup_flat(table, rows.unsqueeze(1), all, {});
}

Tensor sums_of_lists(const Tensor& x, const Tensor& offsets) {
  return at::segment_reduce(x, "sum", /*lengths=*/{}, /*indices=*/{}, offsets, /*axis=*/0, /*unsafe=*/true,
                            /*initial=*/0);
}

}  // namespace polyscene::models
