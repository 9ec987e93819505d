#include "polyscene/nn/mlp.h"

#include <algorithm>
#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/hidden.h"

namespace polyscene::nn {

namespace {

const std::vector<std::string> kActivations = {"relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu", "identity"};
const std::vector<std::string> kNorms = {"none", "batch", "layer"};

}  // namespace

void check_activation(const char* owner, const std::string& name) {
  TORCH_CHECK_VALUE(std::find(kActivations.begin(), kActivations.end(), name) != kActivations.end(), owner,
                    ": activation must be one of ", join(kActivations), ", got '", name, "'",
                    suggestion(name, kActivations));
}

torch::Tensor activate(const std::string& name, const torch::Tensor& x) {
  if (name == "relu") {
    return x.relu();
  }
  if (name == "gelu") {
    return torch::gelu(x);
  }
  if (name == "silu") {
    return torch::silu(x);
  }
  if (name == "tanh") {
    return x.tanh();
  }
  if (name == "sigmoid") {
    return x.sigmoid();
  }
  if (name == "leaky_relu") {
    return torch::leaky_relu(x);
  }
  check_activation("activate", name);
  return x;
}

MLPImpl::MLPImpl(int64_t input_size_, MLPOptions options_) : input_size(input_size_), options(std::move(options_)) {
  check_positive("MLP", "input_size", input_size);
  for (const auto width : options.hidden()) {
    TORCH_CHECK_VALUE(width > 0, "MLP: hidden widths must be positive, got ", to_text(options.hidden()));
  }
  TORCH_CHECK_VALUE(options.output() >= 0, "MLP: output must not be negative, got ", options.output());
  TORCH_CHECK_VALUE(options.output() > 0 || !options.hidden().empty(),
                    "MLP: there must be a hidden layer or an output layer, got hidden [] and output 0");
  TORCH_CHECK_VALUE(std::find(kNorms.begin(), kNorms.end(), options.norm()) != kNorms.end(),
                    "MLP: norm must be one of ", join(kNorms), ", got '", options.norm(), "'");
  check_activation("MLP", options.activation());
  check_dropout("MLP", options.dropout());
  reset();
}

void MLPImpl::reset() {
  linears = register_module("linears", torch::nn::ModuleList());
  norms = register_module("norms", torch::nn::ModuleList());
  auto width = input_size;
  for (const auto next : options.hidden()) {
    linears->push_back(torch::nn::Linear(width, next));
    if (options.norm() == "batch") {
      norms->push_back(torch::nn::BatchNorm1d(next));
    } else if (options.norm() == "layer") {
      norms->push_back(torch::nn::LayerNorm(torch::nn::LayerNormOptions({next})));
    }
    width = next;
  }
  if (options.output() > 0) {
    output = register_module("output", torch::nn::Linear(width, options.output()));
  }
}

int64_t MLPImpl::output_size() const { return options.output() > 0 ? options.output() : options.hidden().back(); }

torch::Tensor MLPImpl::normalize(size_t layer, const torch::Tensor& x) {
  if (options.norm() == "layer") {
    return norms[layer]->as<torch::nn::LayerNorm>()->forward(x);
  }
  auto& norm = *norms[layer]->as<torch::nn::BatchNorm1d>();
  const auto rows = x.reshape({-1, x.size(-1)});  // [N, H]
  if (rows.size(0) > 1) {
    return norm.forward(rows).view(x.sizes());
  }
  return torch::batch_norm(rows, norm.weight, norm.bias, norm.running_mean, norm.running_var, /*training=*/false,
                           /*momentum=*/0, norm.options.eps(), /*cudnn_enabled=*/false)
      .view(x.sizes());
}

torch::Tensor MLPImpl::forward(const torch::Tensor& x) {
  check_width("MLP", "x", x, input_size);
  auto h = x;
  for (size_t layer = 0; layer < linears->size(); ++layer) {
    h = dense(h, linears, layer);  // [..., H]
    if (!norms->is_empty()) {
      h = normalize(layer, h);
    }
    h = torch::dropout(activate(options.activation(), h), options.dropout(), is_training());
    h = tell_hidden(*this, static_cast<int64_t>(layer), h);
  }
  if (output.is_empty()) return h;
  tell_output(*this, h);
  return dense(h, *output);
}

}  // namespace polyscene::nn
