#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

namespace polyscene::nn {

/// Data-adaptive activation (Zhou et al., KDD 2018), a PReLU whose turning point follows the inputs:
///
///   y = p x + (1 - p) alpha x,   p = sigma((x - mean) / sqrt(var + 1e-8))
///
/// for each column by itself, alpha 0 at first. Mean and variance are those of the rows in training (where there are
/// two at least) and moving ones, with momentum 0.1, else. Shapes: x [n, size], result the same.
class DiceImpl : public torch::nn::Cloneable<DiceImpl> {
 public:
  explicit DiceImpl(int64_t size);
  void reset() override;
  torch::Tensor forward(const torch::Tensor& x);

  int64_t size;
  torch::Tensor alpha, running_mean, running_var;  ///< [size]
};
TORCH_MODULE(Dice);

/// Throws ValueError unless `name` is "dice" or an activation that `activate` knows.
void check_dice_activation(const char* owner, const std::string& name);

/// h <- dropout(act(W h + b)) for each hidden width, then one number W h + b a row. `activation` is "dice" or a name
/// that `activate` knows. Shapes: x [n, input], result [n].
class DiceMLPImpl : public torch::nn::Cloneable<DiceMLPImpl> {
 public:
  DiceMLPImpl(int64_t input, std::vector<int64_t> hidden, std::string activation, double dropout = 0);
  void reset() override;
  torch::Tensor forward(const torch::Tensor& x);

  int64_t input;
  std::vector<int64_t> hidden;
  std::string activation;
  double dropout;
  torch::nn::ModuleList linears = nullptr;  ///< hidden layers, then the output
  torch::nn::ModuleList dices = nullptr;    ///< one a hidden layer; empty for other activations
};
TORCH_MODULE(DiceMLP);

}  // namespace polyscene::nn
