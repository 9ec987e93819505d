#include "polyscene/nn/masks.h"

#include <ATen/Dispatch.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace polyscene::nn {

namespace {

double lowest_score(torch::ScalarType type) {
  double value = 0;
  AT_DISPATCH_FLOATING_TYPES_AND2(torch::kHalf, torch::kBFloat16, type, "masked_softmax",
                                  [&] { value = static_cast<double>(std::numeric_limits<scalar_t>::lowest()); });
  return value;
}

}  // namespace

torch::Tensor padding_mask(const torch::Tensor& lengths, int64_t steps) {
  TORCH_CHECK_VALUE(lengths.dim() == 1 && at::isIntegralType(lengths.scalar_type(), /*includeBool=*/false),
                    "padding_mask: lengths must be integers [B], got ", lengths.scalar_type(), " ", lengths.sizes());
  TORCH_CHECK_VALUE(steps >= 0, "padding_mask: steps must not be negative, got ", steps);
  return torch::arange(steps, lengths.options()).unsqueeze(0) < lengths.unsqueeze(1);  // [B, T]
}

torch::Tensor causal_mask(int64_t steps, torch::Device device) {
  TORCH_CHECK_VALUE(steps >= 0, "causal_mask: steps must not be negative, got ", steps);
  const auto step = torch::arange(steps, torch::dtype(torch::kLong).device(device));
  return step.unsqueeze(0) <= step.unsqueeze(1);  // [T, T]
}

torch::Tensor attention_mask(const torch::Tensor& valid, bool causal) {
  TORCH_CHECK_VALUE(valid.dim() == 2 && valid.scalar_type() == torch::kBool,
                    "attention_mask: valid must be bool [B, T], got ", valid.scalar_type(), " ", valid.sizes());
  const auto keys = valid.unsqueeze(1);  // [B, 1, T]
  return causal ? keys & causal_mask(valid.size(1), valid.device()) : keys;
}

torch::Tensor masked_softmax(const torch::Tensor& scores, const torch::Tensor& mask, int64_t dim) {
  TORCH_CHECK_VALUE(mask.scalar_type() == torch::kBool, "masked_softmax: mask must be bool, got ", mask.scalar_type());
  const auto hidden = ~mask;
  // The lowest finite score instead of -inf: a row with nothing to attend to then has finite values and gradients,
  // which the second fill sets to 0.
  return scores.masked_fill(hidden, lowest_score(scores.scalar_type())).softmax(dim).masked_fill(hidden, 0);
}

Padded pad_ragged(const torch::Tensor& values, const torch::Tensor& offsets, int64_t max_steps) {
  TORCH_CHECK_VALUE(values.dim() >= 1, "pad_ragged: values must be [L, ...], got a scalar");
  TORCH_CHECK_VALUE(offsets.dim() == 1 && offsets.numel() >= 1 && offsets.scalar_type() == torch::kLong,
                    "pad_ragged: offsets must be int64 [B + 1], got ", offsets.scalar_type(), " ", offsets.sizes());
  TORCH_CHECK_VALUE(max_steps >= 0, "pad_ragged: max_steps must not be negative, got ", max_steps);
  const auto batch = offsets.numel() - 1;
  const auto lengths = offsets.diff();  // [B]
  const auto last = offsets[batch].item<int64_t>();
  TORCH_CHECK_VALUE(last <= values.size(0) && offsets[0].item<int64_t>() >= 0, "pad_ragged: offsets run to ", last,
                    ", but there are ", values.size(0), " values");
  TORCH_CHECK_VALUE(batch == 0 || lengths.min().item<int64_t>() >= 0, "pad_ragged: offsets must not decrease");
  auto steps = batch == 0 ? 0 : lengths.max().item<int64_t>();
  if (max_steps > 0) {
    steps = std::min(steps, max_steps);
  }
  const auto kept = lengths.clamp_max(steps);    // [B]
  const auto valid = padding_mask(kept, steps);  // [B, T]
  const auto index =
      (offsets.slice(0, 1) - kept).unsqueeze(1) + torch::arange(steps, offsets.options()).unsqueeze(0);  // [B, T]
  std::vector<int64_t> shape{batch, steps};
  shape.insert(shape.end(), values.sizes().begin() + 1, values.sizes().end());
  if (values.size(0) == 0) {
    return {values.new_zeros(shape), valid};
  }
  const auto rows = index.masked_fill(~valid, 0).flatten();
  return {zero_padding(values.index_select(0, rows).view(shape), valid), valid};
}

Unpadded unpad_ragged(const torch::Tensor& padded, const torch::Tensor& valid) {
  TORCH_CHECK_VALUE(padded.dim() >= 2, "unpad_ragged: padded must be [B, T, ...], got ", padded.sizes());
  check_valid("unpad_ragged", valid, padded.size(0), padded.size(1));
  const auto lengths = valid.sum(1, /*keepdim=*/false, torch::kLong);
  const auto offsets = torch::constant_pad_nd(lengths.cumsum(0), {1, 0});  // [B + 1]
  const auto rows = valid.flatten().nonzero().squeeze(1);
  return {padded.flatten(0, 1).index_select(0, rows), offsets};
}

void check_valid(const char* owner, const torch::Tensor& valid, int64_t batch, int64_t steps) {
  TORCH_CHECK_VALUE(valid.scalar_type() == torch::kBool, owner, ": valid must be bool, got ", valid.scalar_type());
  TORCH_CHECK_VALUE(valid.dim() == 2 && valid.size(0) == batch && valid.size(1) == steps, owner, ": valid must be [",
                    batch, ", ", steps, "], got ", valid.sizes());
  if (!valid.device().is_cpu() || steps < 2) {
    return;
  }
  const auto late = valid.slice(1, 1) & ~valid.slice(1, 0, steps - 1);
  TORCH_CHECK_VALUE(!late.any().item<bool>(), owner,
                    ": the valid events of a row must come before its padding, as pad_ragged lays them");
}

torch::Tensor zero_padding(const torch::Tensor& x, const torch::Tensor& valid) {
  auto hidden = ~valid;
  while (hidden.dim() < x.dim()) {
    hidden = hidden.unsqueeze(-1);
  }
  return x.masked_fill(hidden, 0);
}

}  // namespace polyscene::nn
