#include "polyscene/nn/gate_nu.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <numeric>
#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/norm_activation.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/scene_linear.h"
#include "polyscene/nn/simd.h"
#include "polyscene/nn/vector_exp.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kGrain = 16384;  // floats a task

template <typename T>
POLYSCENE_INLINE void engate(const T* logit, const T* h, T* gate, T* out, int64_t count) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const T open = 2 * vector_sigmoid(logit[i]);
    gate[i] = open;
    out[i] = open * h[i];
  }
}

// With gate = 2 sigmoid(logit): dh = g gate, dlogit = g h gate (1 - gate / 2).
template <typename T>
POLYSCENE_INLINE void ungate(const T* g, const T* gate, const T* h, T* dlogit, T* dh, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const T through = g[i] * gate[i];
    dh[i] = through;
    dlogit[i] = through * h[i] * (1 - gate[i] / 2);
  }
}

#define POLYSCENE_GATE_KERNEL(T)                                                                          \
  POLYSCENE_SIMD void engate_of(const T* logit, const T* h, T* gate, T* out, int64_t count) {             \
    engate(logit, h, gate, out, count);                                                                   \
  }                                                                                                       \
  POLYSCENE_SIMD void ungate_of(const T* g, const T* gate, const T* h, T* dlogit, T* dh, int64_t count) { \
    ungate(g, gate, h, dlogit, dh, count);                                                                \
  }

POLYSCENE_GATE_KERNEL(float)
POLYSCENE_GATE_KERNEL(double)
#undef POLYSCENE_GATE_KERNEL

class Gated : public torch::autograd::Function<Gated> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& logit, const Tensor& h) {
    auto gate = torch::empty_like(logit), out = torch::empty_like(h);
    AT_DISPATCH_FLOATING_TYPES(h.scalar_type(), "gated", [&] {
      const auto *from = logit.const_data_ptr<scalar_t>(), *x = h.const_data_ptr<scalar_t>();
      auto *by = gate.data_ptr<scalar_t>(), *to = out.data_ptr<scalar_t>();
      at::parallel_for(0, h.numel(), kGrain, [&](int64_t begin, int64_t end) {
        engate_of(from + begin, x + begin, by + begin, to + begin, end - begin);
      });
    });
    ctx->save_for_backward({gate, h});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "gated: derivatives of higher order need a forward under PlainGuard");
    const auto saved = ctx->get_saved_variables();
    const auto &gate = saved[0], &h = saved[1];
    const auto grad = grads[0].contiguous();
    auto dlogit = torch::empty_like(gate), dh = torch::empty_like(h);
    AT_DISPATCH_FLOATING_TYPES(h.scalar_type(), "gated_backward", [&] {
      const auto *g = grad.const_data_ptr<scalar_t>(), *by = gate.const_data_ptr<scalar_t>(),
                 *x = h.const_data_ptr<scalar_t>();
      auto *to_logit = dlogit.data_ptr<scalar_t>(), *to_h = dh.data_ptr<scalar_t>();
      at::parallel_for(0, h.numel(), kGrain, [&](int64_t begin, int64_t end) {
        ungate_of(g + begin, by + begin, x + begin, to_logit + begin, to_h + begin, end - begin);
      });
    });
    return {dlogit, dh};
  }
};

}  // namespace

Tensor gated(const Tensor& logit, const Tensor& h) {
  TORCH_CHECK_VALUE(logit.sizes() == h.sizes(), "gated: logit and h must be alike, got ", logit.sizes(), " and ",
                    h.sizes());
  if (plain({logit, h})) return Gated::apply(logit.contiguous(), h.contiguous());
  return 2 * logit.sigmoid() * h;
}

GateNUImpl::GateNUImpl(int64_t prior_size_, int64_t rest_size_, std::vector<int64_t> outputs_, int64_t hidden,
                       int64_t scenes_)
    : prior_size(prior_size_), rest_size(rest_size_), outputs(std::move(outputs_)), scenes(scenes_) {
  check_positive("GateNU", "prior_size", prior_size);
  check_positive("GateNU", "scenes", scenes);
  TORCH_CHECK_VALUE(rest_size >= 0, "GateNU: rest_size must be 0 or more, got ", rest_size);
  TORCH_CHECK_VALUE(hidden >= 0, "GateNU: hidden must be 0 or more, got ", hidden);
  TORCH_CHECK_VALUE(!outputs.empty(), "GateNU: outputs must name a width, got []");
  for (const auto output : outputs) {
    check_positive("GateNU", "every output", output);
    widths.push_back(hidden > 0 ? hidden : output);
  }
  reset();
}

void GateNUImpl::reset() {
  const auto total = std::accumulate(widths.begin(), widths.end(), int64_t{0});
  const auto bound = 1 / std::sqrt(static_cast<double>(prior_size + rest_size));
  const auto draw = [&](at::IntArrayRef sizes) { return torch::empty(sizes).uniform_(-bound, bound); };
  prior_weight = register_parameter("prior_weight", draw({scenes, 1, total, prior_size}));
  if (rest_size > 0) rest_weight = register_parameter("rest_weight", draw({scenes, 1, total, rest_size}));
  bias = register_parameter("bias", draw({scenes, total}));
  out_weight.clear();
  out_bias.clear();
  for (size_t l = 0; l < outputs.size(); ++l) {
    const auto name = "out" + std::to_string(l);
    out_weight.push_back(register_parameter(name + "_weight", torch::zeros({scenes, 1, outputs[l], widths[l]})));
    out_bias.push_back(register_parameter(name + "_bias", torch::zeros({scenes, 1, outputs[l]})));
  }
}

std::vector<torch::Tensor> GateNUImpl::finish(const torch::Tensor& h, const SceneGroups& groups) {
  const auto parts = h.split_with_sizes(widths, 1);
  std::vector<torch::Tensor> out;
  for (size_t l = 0; l < outputs.size(); ++l) {
    out.push_back(scene_linear(parts[l].unsqueeze(1), out_weight[l], out_bias[l], groups).flatten(1));
  }
  return out;
}

std::vector<torch::Tensor> GateNUImpl::forward(const torch::Tensor& prior, const torch::Tensor& rest,
                                               const SceneGroups& groups) {
  check_width("GateNU", "prior", prior, prior_size);
  check_width("GateNU", "rest", rest, rest_size);
  auto z = scene_linear(prior.unsqueeze(1), prior_weight, {}, groups).flatten(1);  // [B, H]
  if (rest_size > 0) z = z + scene_linear(rest.detach().unsqueeze(1), rest_weight, {}, groups).flatten(1);
  return finish(norm_activation(z, bias, {}, "relu", is_training(), groups), groups);
}

std::vector<torch::Tensor> GateNUImpl::of_scenes(const torch::Tensor& prior, const torch::Tensor& rest,
                                                 const SceneGroups& groups) {
  check_width("GateNU", "prior", prior, prior_size);
  check_width("GateNU", "rest", rest, rest_size);
  TORCH_CHECK_VALUE(scenes == 1 && rest_size > 0 && prior.size(0) == groups.scenes(),
                    "GateNU: of_scenes needs shared gates, a rest, and one prior for each of ", groups.scenes(),
                    " scenes, got gates of ", scenes, " and priors ", prior.sizes());
  const auto all = SceneGroups::all(groups.rows());
  const auto z = scene_linear(rest.detach().unsqueeze(1), rest_weight, {}, all).flatten(1);  // [B, H]
  const auto added = torch::addmm(bias, prior, prior_weight[0][0].t());                      // [S, H]
  return finish(norm_activation(z, added, {}, "relu", is_training(), groups), all);
}

}  // namespace polyscene::nn
