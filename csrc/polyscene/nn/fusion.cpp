#include "polyscene/nn/fusion.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "polyscene/core/errors.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/masks.h"

namespace polyscene::nn {
namespace {

constexpr const char* kFusion = "Fusion";
const std::vector<std::string> kFusionKinds = {"concat", "gated", "cross_attention"};

// Equal shares of the modalities that are present, [B, M]; all 0 where none is.
torch::Tensor shares(const torch::Tensor& present, const torch::Tensor& like) {
  const auto each = present.to(like.scalar_type());
  return each / each.sum(1, /*keepdim=*/true).clamp_min(1);
}

}  // namespace

FusionImpl::FusionImpl(std::vector<int64_t> sizes_, FusionOptions options_)
    : sizes(std::move(sizes_)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(!sizes.empty(), kFusion, ": sizes must name the width of at least one modality, got []");
  TORCH_CHECK_VALUE(*std::min_element(sizes.begin(), sizes.end()) > 0, kFusion, ": sizes must be positive, got ",
                    torch::IntArrayRef(sizes));
  TORCH_CHECK_VALUE(std::find(kFusionKinds.begin(), kFusionKinds.end(), options.kind()) != kFusionKinds.end(), kFusion,
                    ": kind must be one of ", join(kFusionKinds), ", got '", options.kind(), "'",
                    suggestion(options.kind(), kFusionKinds));
  check_positive(kFusion, "hidden", options.hidden());
  check_positive(kFusion, "heads", options.heads());
  check_dropout(kFusion, options.dropout());
  TORCH_CHECK_VALUE(options.kind() != "cross_attention" || options.hidden() % options.heads() == 0, kFusion,
                    ": heads (", options.heads(), ") must divide hidden (", options.hidden(), ")");
  reset();
}

void FusionImpl::reset() {
  const auto width = options.hidden();
  const auto all = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  if (options.kind() == "concat") {
    projection = register_module("projection", torch::nn::Linear(all, width));
    absent = register_parameter("absent", torch::zeros({all}));
    return;
  }
  const bool gates = options.kind() == "gated";
  projections = register_module("projections", torch::nn::ModuleList());
  for (const auto size : sizes) {
    projections->push_back(torch::nn::Linear(torch::nn::LinearOptions(size, width).bias(!gates)));
  }
  if (gates) {
    const auto modalities = static_cast<int64_t>(sizes.size());
    gate = register_module("gate", torch::nn::Linear(torch::nn::LinearOptions(all, modalities).bias(false)));
    return;
  }
  attention =
      register_module("attention", MultiHeadAttention(width, MultiHeadAttentionOptions().heads(options.heads())));
  norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
}

Attended FusionImpl::concatenated(const std::vector<torch::Tensor>& x, const torch::Tensor& present) {
  std::vector<torch::Tensor> parts;
  int64_t first = 0;
  for (size_t m = 0; m < x.size(); ++m) {
    const auto stand_in = absent.narrow(0, first, sizes[m]);
    parts.push_back(torch::where(present.select(1, static_cast<int64_t>(m)).unsqueeze(1), x[m], stand_in));
    first += sizes[m];
  }
  const auto any = present.any(1, /*keepdim=*/true);  // [B, 1]
  return {dense(torch::cat(parts, 1), *projection).masked_fill(~any, 0), shares(present, x[0])};
}

Attended FusionImpl::gated(const std::vector<torch::Tensor>& x, const torch::Tensor& present) {
  std::vector<torch::Tensor> units;
  for (size_t m = 0; m < x.size(); ++m) {
    units.push_back(dense(x[m], projections, m).tanh());
  }
  const auto weights = masked_softmax(dense(torch::cat(x, 1), *gate), present);  // [B, M]
  return {(torch::stack(units, 1) * weights.unsqueeze(2)).sum(1), weights};      // [B, H]
}

Attended FusionImpl::crossed(const std::vector<torch::Tensor>& x, const torch::Tensor& present) {
  std::vector<torch::Tensor> units;
  for (size_t m = 0; m < x.size(); ++m) {
    units.push_back(dense(x[m], projections, m));
  }
  const auto u = torch::stack(units, 1);  // [B, M, H]
  const auto others = ~torch::eye(u.size(1), present.options());
  const auto met = attention->attend(u, u, u, present, others);
  const auto share = shares(present, u);  // [B, M]
  const auto out = norm->forward(u + met.output) * share.unsqueeze(2);
  // One that is alone attends to nothing and has all the weight.
  const auto alone = present & (present.sum(1, /*keepdim=*/true) == 1);
  const auto got = (met.weights.mean(1) * share.unsqueeze(2)).sum(1);  // [B, M]
  return {out.sum(1), torch::where(alone, torch::ones_like(got), got)};
}

torch::Tensor FusionImpl::forward(const std::vector<torch::Tensor>& x, const std::optional<torch::Tensor>& present) {
  return attend(x, present).output;
}

Attended FusionImpl::attend(const std::vector<torch::Tensor>& x, const std::optional<torch::Tensor>& given) {
  const auto modalities = static_cast<int64_t>(sizes.size());
  TORCH_CHECK_VALUE(x.size() == sizes.size(), kFusion, ": x must hold ", sizes.size(), " modalities, got ", x.size());
  for (size_t m = 0; m < x.size(); ++m) {
    TORCH_CHECK_VALUE(x[m].dim() == 2 && x[m].size(1) == sizes[m] && x[m].size(0) == x[0].size(0), kFusion,
                      ": modality ", m, " must be [", x[0].dim() == 0 ? 0 : x[0].size(0), ", ", sizes[m], "], got ",
                      x[m].sizes());
  }
  const auto rows = x[0].size(0);
  TORCH_CHECK_VALUE(!given || (given->scalar_type() == torch::kBool && given->dim() == 2 && given->size(0) == rows &&
                               given->size(1) == modalities),
                    kFusion, ": present must be bool [", rows, ", ", modalities, "], got ", given->scalar_type(), " ",
                    given->sizes());
  const auto present = given ? *given : torch::ones({rows, modalities}, x[0].options().dtype(torch::kBool));
  std::vector<torch::Tensor> seen;
  for (size_t m = 0; m < x.size(); ++m) {
    seen.push_back(x[m].masked_fill(~present.select(1, static_cast<int64_t>(m)).unsqueeze(1), 0));
  }
  auto out = options.kind() == "concat"  ? concatenated(seen, present)
             : options.kind() == "gated" ? gated(seen, present)
                                         : crossed(seen, present);
  return {drop(out.output, options.dropout(), is_training()), out.weights};
}

}  // namespace polyscene::nn
