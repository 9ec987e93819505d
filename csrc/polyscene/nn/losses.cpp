#include "polyscene/nn/losses.h"

#include <algorithm>
#include <unordered_map>

#include "polyscene/core/errors.h"

namespace polyscene::nn {

torch::Tensor bce_with_logits(const torch::Tensor& logits, const torch::Tensor& label) {
  TORCH_CHECK_VALUE(logits.sizes() == label.sizes(), "bce_with_logits: label must have the shape of logits, ",
                    logits.sizes(), ", got ", label.sizes());
  return torch::binary_cross_entropy_with_logits(logits, label.to(logits.scalar_type()), {}, {}, at::Reduction::None);
}

torch::Tensor bpr(const torch::Tensor& positive, const torch::Tensor& negative) {
  const auto aligned = positive.dim() == 1 && negative.dim() == 2 ? positive.unsqueeze(1) : positive;
  // Not torch::softplus, which is linear above 20.
  return -torch::log_sigmoid(aligned - negative);
}

torch::Tensor squared_error(const torch::Tensor& prediction, const torch::Tensor& label) {
  TORCH_CHECK_VALUE(prediction.sizes() == label.sizes(), "squared_error: label must have the shape of prediction, ",
                    prediction.sizes(), ", got ", label.sizes());
  return (prediction - label.to(prediction.scalar_type())).square();
}

torch::Tensor top1(const torch::Tensor& positive, const torch::Tensor& negative) {
  return (torch::sigmoid(negative - positive.unsqueeze(1)) + torch::sigmoid(negative.square())).mean(1);
}

torch::Tensor bpr_max(const torch::Tensor& positive, const torch::Tensor& negative, double reg) {
  const auto weight = torch::log_softmax(negative, 1);  // log w, [B, N]
  const auto out = -torch::logsumexp(weight + torch::log_sigmoid(positive.unsqueeze(1) - negative), 1);
  return reg > 0 ? out + reg * (weight.exp() * negative.square()).sum(1) : out;
}

torch::Tensor embedding_l2(const std::vector<torch::Tensor>& blocks, bool squared) {
  TORCH_CHECK_VALUE(!blocks.empty() && blocks.front().dim() > 0, "embedding_l2: there must be a block [B, ...], got ",
                    blocks.size(), " blocks");
  const auto batch = blocks.front().size(0);
  torch::Tensor total;
  for (const auto& block : blocks) {
    TORCH_CHECK_VALUE(block.dim() > 0 && block.size(0) == batch, "embedding_l2: every block must have ", batch,
                      " rows, as the first, got ", block.sizes());
    const auto size = squared ? block.square().sum() : block.norm();
    total = total.defined() ? total + size : size;
  }
  return total / static_cast<double>((squared ? 2 : 1) * std::max<int64_t>(batch, 1));
}

torch::Tensor migration_loss(const NamedTensors& parameters, const std::vector<NamedTensors>& anchors, bool per_entry,
                             const std::map<std::string, double>& weights) {
  TORCH_CHECK_VALUE(!anchors.empty(), "migration_loss: there must be an anchor, got none");
  std::unordered_map<std::string, std::vector<torch::Tensor>> known;
  for (const auto& anchor : anchors) {
    for (const auto& [name, tensor] : anchor) {
      known[name].push_back(tensor);
    }
  }
  std::vector<std::string> names;
  torch::Tensor total;
  for (const auto& [name, parameter] : parameters) {
    names.push_back(name);
    const auto found = known.find(name);
    if (found == known.end()) {
      continue;
    }
    torch::Tensor sum;
    for (const auto& tensor : found->second) {
      TORCH_CHECK_VALUE(tensor.sizes() == parameter.sizes(), "migration_loss: parameter '", name, "' is ",
                        parameter.sizes(), ", but an anchor has ", tensor.sizes());
      const auto distance = (parameter - tensor.detach().to(parameter)).square().sum();
      sum = sum.defined() ? sum + distance : distance;
    }
    const auto weight = weights.find(name);
    const auto entries = per_entry ? static_cast<double>(std::max<int64_t>(parameter.numel(), 1)) : 1.0;
    const auto scale = (weight == weights.end() ? 1.0 : weight->second) / entries;
    const auto term = sum * (scale / static_cast<double>(found->second.size()));
    total = total.defined() ? total + term : term;
  }
  for (const auto& entry : weights) {
    TORCH_CHECK_VALUE(std::find(names.begin(), names.end(), entry.first) != names.end(),
                      "migration_loss: a weight is given for '", entry.first, "', which is not a parameter",
                      suggestion(entry.first, names));
  }
  TORCH_CHECK_VALUE(total.defined(),
                    "migration_loss: the anchors share no parameter with the model, which has: ", join(names));
  return total;
}

}  // namespace polyscene::nn
