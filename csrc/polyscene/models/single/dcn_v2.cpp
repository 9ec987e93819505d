#include "polyscene/models/single/dcn_v2.h"

#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/nn/scene_linear.h"
#include "polyscene/nn/softmax.h"

namespace polyscene::models {
namespace {

torch::Tensor glorot(torch::IntArrayRef shape, int64_t in, int64_t out) {
  const auto bound = std::sqrt(6.0 / static_cast<double>(in + out));
  return torch::empty(shape).uniform_(-bound, bound);
}

}  // namespace

DCNv2Impl::DCNv2Impl(std::shared_ptr<const data::Schema> schema, DCNv2Options options_)
    : FieldModel(std::move(schema), options_.common, "DCNv2", {}), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.cross_layers() > 0, "DCNv2: cross_layers must be positive, got ", options.cross_layers());
  TORCH_CHECK_VALUE(options.rank() >= 0, "DCNv2: rank must be 0 or more, got ", options.rank());
  TORCH_CHECK_VALUE(options.experts() > 0, "DCNv2: experts must be positive, got ", options.experts());
  TORCH_CHECK_VALUE(options.experts() == 1 || options.rank() > 0, "DCNv2: experts are of low rank; give a rank for ",
                    options.experts(), " experts");
  TORCH_CHECK_VALUE(options.structure() == "stacked" || options.structure() == "parallel",
                    "DCNv2: structure must be stacked or parallel, got '", options.structure(), "'",
                    suggestion(options.structure(), {"stacked", "parallel"}));
  const auto size = input_size(), rank = options.rank(), experts = options.experts(), wide = rank * experts;
  for (int64_t layer = 0; layer < options.cross_layers(); ++layer) {
    const auto add = [&](std::vector<torch::Tensor>& to, const char* name, const torch::Tensor& value) {
      to.push_back(register_parameter("cross" + std::to_string(layer) + "_" + name, value));
    };
    if (rank == 0) {
      add(cross_weight, "weight", glorot({size, size}, size, size));
    } else {
      add(cross_down, "down", glorot({wide, size}, size, rank));
      if (experts > 1) add(cross_core, "core", glorot({experts, rank, rank}, rank, rank));
      add(cross_up, "up", glorot({size, wide}, rank, size));
      if (experts > 1) add(cross_gate, "gate", glorot({experts, size}, size, experts));
    }
    add(cross_bias, "bias", torch::zeros({size}));
  }
  const auto layers = nn::MLPOptions().hidden(options.hidden()).norm(options.norm()).dropout(options.dropout());
  deep = register_module("deep", nn::SceneMLP(size, nn::MLPOptions(layers).output(1)));
  if (options.structure() == "parallel") {
    const auto bound = 1 / std::sqrt(static_cast<double>(size));
    cross_head = register_parameter("cross_head", torch::empty({size}).uniform_(-bound, bound));
  }
}

// What multiplies x_0, [B, E].
torch::Tensor DCNv2Impl::cross(int64_t layer, const torch::Tensor& x, std::vector<torch::Tensor>& gates) const {
  if (options.rank() == 0) return nn::dense(x, cross_weight[layer], cross_bias[layer]);
  auto low = nn::dense(x, cross_down[layer]);  // [B, K r]
  if (options.experts() > 1) {
    const auto gate = nn::softmax_rows(nn::dense(x, cross_gate[layer]));                          // [B, K]
    const auto inner = low.tanh().view({-1, options.experts(), options.rank()}).transpose(0, 1);  // [K, B, r]
    const auto core = inner.bmm(cross_core[layer].transpose(1, 2)).tanh().transpose(0, 1);        // [B, K, r]
    low = (core * gate.unsqueeze(2)).flatten(1);
    gates.push_back(gate);
  }
  return nn::dense(low, cross_up[layer], cross_bias[layer]);
}

SceneModel::Answer DCNv2Impl::body(const Rows& rows, bool explaining) {
  std::vector<torch::Tensor> gates;
  auto x = rows.x;
  for (int64_t layer = 0; layer < options.cross_layers(); ++layer) {
    x = torch::addcmul(x, rows.x, cross(layer, x, gates));
  }
  Answer out;
  if (cross_head.defined()) {
    out.logits = x.mv(cross_head) + deep->forward(rows.x, rows.all).flatten();
  } else {
    out.logits = deep->forward(x, rows.all).flatten();
  }
  if (explaining) out.parts = {{"crossed", x}};
  if (explaining && !gates.empty()) out.parts.emplace_back("gates", torch::stack(gates, 1));
  return out;
}

}  // namespace polyscene::models
