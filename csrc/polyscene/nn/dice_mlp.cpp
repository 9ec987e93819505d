#include "polyscene/nn/dice_mlp.h"

#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/mlp.h"

namespace polyscene::nn {

DiceImpl::DiceImpl(int64_t size) : size(size) {
  check_positive("Dice", "size", size);
  reset();
}

void DiceImpl::reset() {
  alpha = register_parameter("alpha", torch::zeros({size}));
  running_mean = register_buffer("running_mean", torch::zeros({size}));
  running_var = register_buffer("running_var", torch::ones({size}));
}

torch::Tensor DiceImpl::forward(const torch::Tensor& x) {
  check_width("Dice", "x", x, size);
  constexpr double kEpsilon = 1e-8, kMomentum = 0.1;
  auto mean = running_mean, var = running_var;
  if (is_training() && x.size(0) > 1) {
    mean = x.mean(0);
    var = (x - mean).square().mean(0);
    const torch::NoGradGuard no_grad;
    const auto rows = static_cast<double>(x.size(0));
    running_mean.lerp_(mean, kMomentum);
    running_var.lerp_(var * (rows / (rows - 1)), kMomentum);
  }
  const auto p = torch::sigmoid((x - mean) * (var + kEpsilon).rsqrt());
  return x * (alpha + p * (1 - alpha));
}

void check_dice_activation(const char* owner, const std::string& name) {
  if (name != "dice") check_activation(owner, name);
}

DiceMLPImpl::DiceMLPImpl(int64_t input, std::vector<int64_t> hidden_, std::string activation_, double dropout)
    : input(input), hidden(std::move(hidden_)), activation(std::move(activation_)), dropout(dropout) {
  check_positive("DiceMLP", "input", input);
  for (const auto width : hidden) check_positive("DiceMLP", "hidden", width);
  check_dice_activation("DiceMLP", activation);
  check_dropout("DiceMLP", dropout);
  reset();
}

void DiceMLPImpl::reset() {
  linears = register_module("linears", torch::nn::ModuleList());
  dices = register_module("dices", torch::nn::ModuleList());
  auto width = input;
  for (const auto next : hidden) {
    linears->push_back(torch::nn::Linear(width, next));
    if (activation == "dice") dices->push_back(Dice(next));
    width = next;
  }
  linears->push_back(torch::nn::Linear(width, 1));
}

torch::Tensor DiceMLPImpl::forward(const torch::Tensor& x) {
  check_width("DiceMLP", "x", x, input);
  auto h = x;
  for (size_t layer = 0; layer < hidden.size(); ++layer) {
    h = dense(h, *linears->ptr<torch::nn::LinearImpl>(layer));
    h = activation == "dice" ? dices->ptr<DiceImpl>(layer)->forward(h) : activate(activation, h);
    if (dropout > 0) h = torch::dropout(h, dropout, is_training());
  }
  tell_output(*this, h);
  return dense(h, *linears->ptr<torch::nn::LinearImpl>(hidden.size())).squeeze(1);
}

}  // namespace polyscene::nn
