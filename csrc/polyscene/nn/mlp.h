#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "polyscene/core/options.h"

namespace polyscene::nn {

/// An activation by name: relu, gelu, silu, tanh, sigmoid, leaky_relu or identity. Throws ValueError for another name.
torch::Tensor activate(const std::string& name, const torch::Tensor& x);

/// Throws ValueError unless `name` is an activation that `activate` knows ("owner: activation must be one of ...").
void check_activation(const char* owner, const std::string& name);

/// Options for `MLP`.
struct MLPOptions {
  /// Widths of the hidden layers.
  TORCH_ARG(std::vector<int64_t>, hidden) = {64};
  /// Width of the linear output layer; 0: none.
  TORCH_ARG(int64_t, output) = 0;
  /// relu, gelu, silu, tanh, sigmoid, leaky_relu or identity.
  TORCH_ARG(std::string, activation) = "relu";
  /// Normalisation before the activation: none, batch or layer.
  TORCH_ARG(std::string, norm) = "none";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("hidden", self.hidden(), "widths of the hidden layers");
    visit("output", self.output(), "width of the linear output layer; 0: none");
    visit("activation", self.activation(), "relu, gelu, silu, tanh, sigmoid, leaky_relu or identity");
    visit("norm", self.norm(), "normalisation before the activation: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation");
  }
};

/// Multi-layer perceptron: x <- dropout(act(norm(W x + b))) for each hidden width, then W x + b when there is an
/// output.
///
/// Any number of rows works, none too. Batch norm takes its statistics from the batch in training (Ioffe & Szegedy,
/// ICML 2015); one row has no variance, so with fewer than two rows it uses its running statistics and leaves them
/// unchanged.
class MLPImpl : public torch::nn::Cloneable<MLPImpl> {
 public:
  explicit MLPImpl(int64_t input_size, MLPOptions options = {});
  void reset() override;
  /// x: [..., input_size]. Returns [..., output_size()].
  torch::Tensor forward(const torch::Tensor& x);
  /// Width of what `forward` returns.
  int64_t output_size() const;

  int64_t input_size;
  MLPOptions options;
  torch::nn::ModuleList linears = nullptr;  ///< one Linear per hidden width
  torch::nn::ModuleList norms = nullptr;    ///< one BatchNorm1d or LayerNorm per hidden width; empty without norm
  torch::nn::Linear output = nullptr;       ///< empty without output layer

 private:
  torch::Tensor normalize(size_t layer, const torch::Tensor& x);
};
TORCH_MODULE(MLP);

}  // namespace polyscene::nn
