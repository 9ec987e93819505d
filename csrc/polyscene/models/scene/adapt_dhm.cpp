#include "polyscene/models/scene/adapt_dhm.h"

#include <cmath>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/norm_activation.h"
#include "polyscene/nn/scene_linear.h"
#include "polyscene/nn/softmax.h"

namespace polyscene::models {
namespace {

constexpr const char* kAdaptDHM = "AdaptDHM";

torch::Tensor unit(const torch::Tensor& rows) { return rows / rows.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12); }

}  // namespace

AdaptDHMImpl::AdaptDHMImpl(std::shared_ptr<const data::Schema> schema, AdaptDHMOptions options_)
    : SceneModel(std::move(schema), options_.common, kAdaptDHM), options(std::move(options_)) {
  nn::check_positive(kAdaptDHM, "clusters", options.clusters());
  nn::check_positive(kAdaptDHM, "steps", options.steps());
  nn::check_dropout(kAdaptDHM, options.dropout());
  TORCH_CHECK_VALUE(options.beta() >= 0 && options.beta() <= 1, kAdaptDHM, ": beta must lie in [0, 1], got ",
                    options.beta());
  TORCH_CHECK_VALUE(options.temperature() > 0, kAdaptDHM, ": temperature must be positive, got ",
                    options.temperature());
  const auto count = options.clusters();
  centres = register_buffer("centres", unit(torch::randn({count, input_size()})));
  auto widths = options.hidden();
  widths.push_back(1);
  auto from = input_size();
  for (size_t layer = 0; layer < widths.size(); ++layer) {
    const auto to = widths[layer];
    TORCH_CHECK_VALUE(to > 0, kAdaptDHM, ": hidden widths must be positive, got ", to_text(options.hidden()));
    const auto name = layer + 1 < widths.size() ? "layer" + std::to_string(layer) : std::string("output");
    const auto bound = std::sqrt(2.0) * std::sqrt(6.0 / static_cast<double>(from + to));  // Xavier, gain of relu
    shared_weight.push_back(
        register_parameter(name + "_shared_weight", torch::empty({to, from}).uniform_(-bound, bound)));
    shared_bias.push_back(register_parameter(name + "_shared_bias", torch::zeros({to})));
    weight.push_back(register_parameter(name + "_weight", torch::empty({count, to, from}).uniform_(-bound, bound)));
    bias.push_back(register_parameter(name + "_bias", torch::zeros({count, to})));
    from = to;
  }
}

torch::Tensor AdaptDHMImpl::similarity(const torch::Tensor& x) {
  torch::NoGradGuard no_grad;
  const auto rows = unit(x.detach());  // [B, E]
  if (is_training() && rows.size(0) > 0) {
    for (int64_t step = 0; step < options.steps(); ++step) {
      const auto r = nn::softmax_rows(nn::dense(rows, centres) / options.temperature());  // [B, K]
      const auto mean = r.t().mm(rows) / r.sum(0).clamp_min(1e-30).unsqueeze(1);          // [K, E]
      centres.copy_(unit(options.beta() * centres + (1 - options.beta()) * mean));
    }
  }
  return nn::dense(rows, centres);  // [B, K]
}

SceneModel::Answer AdaptDHMImpl::body(const Rows& rows, bool explaining) {
  const auto near = similarity(rows.x);
  const auto chosen = near.argmax(1);  // [B]
  const auto order = nn::order_by(chosen, options.clusters());
  auto h = order.sort(rows.x);
  for (size_t layer = 0; layer < weight.size(); ++layer) {
    const auto w = (shared_weight[layer] * weight[layer]).unsqueeze(1);               // [K, 1, O, I]
    const auto z = nn::scene_linear(h.unsqueeze(1), w, {}, order.groups).squeeze(1);  // [B, O]
    const bool last = layer + 1 == weight.size();
    if (last && nn::heard()) nn::tell_output(*this, order.unsort(h));
    h = nn::norm_activation(z, shared_bias[layer] + bias[layer], {}, last ? "identity" : "relu", is_training(),
                            order.groups);
    if (!last) h = nn::drop(h, options.dropout(), is_training());
  }
  Answer out{order.unsort(h).squeeze(1), {}};
  if (explaining) out.parts = {{"cluster", chosen}, {"similarity", near}};
  return out;
}

}  // namespace polyscene::models
