#include "polyscene/models/sequence/view_attention.h"

#include <cmath>

#include "polyscene/models/sequence/scene_encoders.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {

using torch::Tensor;

ViewAttentionImpl::ViewAttentionImpl(int64_t dim_, std::vector<int64_t> hidden_)
    : dim(dim_), hidden(std::move(hidden_)) {
  nn::check_positive("ViewAttention", "dim", dim);
  TORCH_CHECK_VALUE(!hidden.empty(), "ViewAttention: hidden must name at least one width, got []");
  for (const auto width : hidden) nn::check_positive("ViewAttention", "hidden", width);
  reset();
}

void ViewAttentionImpl::reset() {
  const auto bound = 1 / std::sqrt(5.0 * static_cast<double>(dim));
  first = register_parameter("first", torch::empty({hidden[0], 5, dim}).uniform_(-bound, bound));
  first_bias = register_parameter("first_bias", torch::empty({hidden[0]}).uniform_(-bound, bound));
  slope = register_parameter("slope", torch::full({static_cast<int64_t>(hidden.size())}, 0.25));
  linears = register_module("linears", torch::nn::ModuleList());
  for (size_t n = 1; n <= hidden.size(); ++n) {
    linears->push_back(torch::nn::Linear(hidden[n - 1], n < hidden.size() ? hidden[n] : 1));
  }
}

Tensor ViewAttentionImpl::forward(const Tensor& keys, const Tensor& query, const Tensor& pair, const Tensor& offsets,
                                  int64_t views) {
  const auto n = query.size(0), lists = n * views;
  if (n == 0 || pair.numel() == 0) return keys.sum() * 0 + torch::zeros({n, views, dim}, query.options());
  const auto lengths = offsets.diff();
  const auto list = torch::arange(lists).repeat_interleave(lengths);  // [P]
  const auto asker = list.div(views, "floor");
  const auto key = rows_from(keys, pair);  // [P, D]
  const auto count = lengths.view({n, views}).select(1, 0).clamp_min(1).to(key.scalar_type()).unsqueeze(1);
  const auto mean = sums_of_lists(key, offsets).view({n, views, dim}).select(1, 0) / count;  // [n, D]
  const auto part = [&](int64_t k) { return first.select(1, k); };                           // [A, D]
  const auto of_key = nn::dense(keys, part(0) - part(3)), of_mean = nn::dense(mean, part(4).contiguous());
  const auto of_query = nn::dense(query, part(1) + part(3), first_bias) + of_mean;
  auto z = rows_from(of_key, pair) + rows_from(of_query, asker) +
           nn::dense(key * rows_from(query, asker), part(2).contiguous());  // [P, A]
  for (size_t k = 0; k < hidden.size(); ++k) {
    // W prelu(z) = [W, -a W] [relu(z); relu(-z)]: so the gradient of the slope is a sum over W, not over all pairs.
    const auto& linear = linears->at<torch::nn::LinearImpl>(k);
    z = nn::dense(torch::cat({z.relu(), z.neg().relu()}, 1),
                  torch::cat({linear.weight, linear.weight * -slope[static_cast<int64_t>(k)]}, 1), linear.bias);
  }
  const auto most = at::segment_reduce(z.detach(), "max", /*lengths=*/{}, /*indices=*/{}, offsets, /*axis=*/0,
                                       /*unsafe=*/true, /*initial=*/-std::numeric_limits<double>::infinity());
  const auto weight = (z - most.index_select(0, list)).exp();                              // [P, 1]
  const auto sums = sums_of_lists(torch::cat({key * weight, weight}, 1), offsets);         // [V n, D + 1]
  return (sums.slice(1, 0, dim) / sums.slice(1, dim).clamp_min(1)).view({n, views, dim});  // some weight is 1
}

}  // namespace polyscene::models
