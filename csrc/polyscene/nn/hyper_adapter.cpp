#include "polyscene/nn/hyper_adapter.h"

#include "polyscene/nn/checks.h"
#include "polyscene/nn/mixture.h"
#include "polyscene/nn/norm_activation.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::nn {

HyperAdapterImpl::HyperAdapterImpl(int64_t width_, int64_t inner_, int64_t rank_, int64_t scenes_)
    : width(width_), inner(inner_), rank(rank_), scenes(scenes_) {
  check_positive("HyperAdapter", "width", width);
  check_positive("HyperAdapter", "inner", inner);
  check_positive("HyperAdapter", "rank", rank);
  check_positive("HyperAdapter", "scenes", scenes);
  reset();
}

void HyperAdapterImpl::reset() {
  const auto draw = [&](const char* name, int64_t rows, int64_t columns) {
    return register_parameter(name, torch::nn::init::xavier_uniform_(torch::empty({rows, columns})));
  };
  down_in = draw("down_in", width, rank);
  down_out = draw("down_out", rank, inner);
  down_bias = register_parameter("down_bias", torch::zeros({inner}));
  up_in = draw("up_in", inner, rank);
  up_out = draw("up_out", rank, width);
  scale = register_parameter("scale", torch::ones({width}));
  shift = register_parameter("shift", torch::zeros({width}));
  running_mean = register_buffer("running_mean", torch::zeros({scenes, width}));
  running_var = register_buffer("running_var", torch::ones({scenes, width}));
}

torch::Tensor HyperAdapterImpl::forward(const torch::Tensor& h, const torch::Tensor& core, const SceneGroups& groups) {
  check_width("HyperAdapter", "h", h, width);
  TORCH_CHECK_VALUE(core.dim() == 3 && core.size(0) == h.size(0) && core.size(1) == rank && core.size(2) == rank,
                    "HyperAdapter: core must be [", h.size(0), ", ", rank, ", ", rank, "], got ", core.sizes());
  // A row's vector times its matrix is the sum of the matrix's rows, weighted by the vector.
  const auto a = dense(mixture(dense(h, down_in.t()), core), down_out.t(), down_bias).sigmoid();  // [B, A]
  const auto u = dense(mixture(dense(a, up_in.t()), core), up_out.t());                           // [B, M]
  const auto gamma = scale.expand({scenes, width}), beta = shift.expand({scenes, width});
  return h + norm_activation(u, {}, {gamma, beta, running_mean, running_var}, "identity", is_training(), groups);
}

}  // namespace polyscene::nn
