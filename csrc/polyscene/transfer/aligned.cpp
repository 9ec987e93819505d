#include "polyscene/transfer/aligned.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/nn/alignment.h"

namespace polyscene::transfer {
namespace {

const std::vector<std::string> kAlignments = {"dann", "mmd", "coral"};

}  // namespace

Aligned::Aligned(std::shared_ptr<models::Model> inner, data::Table table, AlignedOptions options_)
    : Wrapped(std::move(inner)),
      options(std::move(options_)),
      drawn_("Aligned", *inner_, std::move(table), options.rows(), options.seed()) {
  TORCH_CHECK_VALUE(std::find(kAlignments.begin(), kAlignments.end(), options.kind()) != kAlignments.end(),
                    "Aligned: kind must be one of ", join(kAlignments), ", got '", options.kind(), "'",
                    suggestion(options.kind(), kAlignments));
  TORCH_CHECK_VALUE(std::isfinite(options.strength()) && options.strength() >= 0,
                    "Aligned: strength must be finite and not negative, got ", options.strength());
  TORCH_CHECK_VALUE(options.ramp() > 0, "Aligned: ramp must be positive, got ", options.ramp());
  TORCH_CHECK_VALUE(options.gamma() > 0, "Aligned: gamma must be positive, got ", options.gamma());
  const auto scenes = static_cast<int64_t>(drawn_.scenes().size());
  TORCH_CHECK_VALUE(scenes > 1, "Aligned: the table must have rows of several scenes, it has those of ", scenes);
  TORCH_CHECK_VALUE(options.rows() >= 2 * scenes, "Aligned: rows must be at least two for each of ", scenes,
                    " scenes, got ", options.rows());
  steps = register_buffer("aligned_steps", torch::zeros({}, torch::kInt64));
  const auto width = representation_width(*inner_, drawn_.table());
  if (options.kind() != "dann") return;
  discriminator = register_module("aligned_discriminator",
                                  nn::MLP(width, nn::MLPOptions().hidden(options.discriminator()).output(scenes)));
}

torch::Tensor Aligned::places(const data::Batch& batch) const {
  return torch::searchsorted(torch::tensor(drawn_.scenes(), torch::kInt64), batch.scene);
}

torch::Tensor Aligned::aligned(const data::Batch& batch, double reversal) {
  const auto h = inner_->represent(batch);  // [B, H]
  if (options.kind() == "dann") {
    const auto read = reversal > 0 ? nn::reverse_gradient(h, reversal) : h.detach();
    return torch::nn::functional::cross_entropy(discriminator->forward(read), places(batch));
  }
  std::vector<torch::Tensor> parts;
  for (const auto scene : drawn_.scenes())
    parts.push_back(h.index_select(0, batch.scene.eq(scene).nonzero().squeeze(1)));
  auto out = torch::zeros({}, h.options());
  int64_t pairs = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    for (size_t j = i + 1; j < parts.size(); ++j, ++pairs)
      out = out + (options.kind() == "mmd" ? nn::mmd(parts[i], parts[j]) : nn::coral(parts[i], parts[j]));
  }
  return out / static_cast<double>(pairs);
}

torch::Tensor Aligned::loss(const data::Batch& batch) {
  const auto loss = inner_->loss(batch);
  if (options.strength() == 0) return loss;
  const auto number = steps.item<int64_t>();
  const auto progress = std::min(static_cast<double>(number) / static_cast<double>(options.ramp()), 1.0);
  if (is_training()) steps.add_(1);
  return loss + options.strength() * aligned(drawn_.batch(number), nn::reversal_strength(progress, options.gamma()));
}

torch::Tensor Aligned::alignment(int64_t number) { return aligned(drawn_.batch(number), 0); }

double Aligned::accuracy(int64_t number) {
  TORCH_CHECK_VALUE(discriminator, "Aligned: accuracy is that of a discriminator, which kind '", options.kind(),
                    "' does not have");
  const models::EvaluationMode evaluating(*this);
  const torch::NoGradGuard no_grad;
  const auto batch = drawn_.batch(number);
  return discriminator->forward(inner_->represent(batch))
      .argmax(1)
      .eq(places(batch))
      .to(torch::kFloat64)
      .mean()
      .item<double>();
}

}  // namespace polyscene::transfer
