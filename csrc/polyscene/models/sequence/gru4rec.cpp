#include "polyscene/models/sequence/gru4rec.h"

#include <algorithm>

#include "polyscene/core/errors.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/masks.h"

namespace polyscene::models {

GRU4RecImpl::GRU4RecImpl(std::shared_ptr<const data::Schema> schema, GRU4RecOptions options_)
    : SequenceModel(std::move(schema), options_.common, "GRU4Rec", {"ce", "bce", "bpr", "top1", "bpr_max"}),
      options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.hidden() > 0, "GRU4Rec: hidden must be positive, got ", options.hidden());
  TORCH_CHECK_VALUE(options.layers() > 0, "GRU4Rec: layers must be positive, got ", options.layers());
  TORCH_CHECK_VALUE(options.bpr_max_reg() >= 0, "GRU4Rec: bpr_max_reg must be 0 or more, got ", options.bpr_max_reg());
  const std::vector<std::string> activations = {"identity", "tanh", "elu"};
  TORCH_CHECK_VALUE(std::find(activations.begin(), activations.end(), options.final_activation()) != activations.end(),
                    "GRU4Rec: final_activation must be one of ", join(activations), ", got '",
                    options.final_activation(), "'", suggestion(options.final_activation(), activations));
  gru = register_module("gru", torch::nn::GRU(torch::nn::GRUOptions(common.dim(), options.hidden())
                                                  .num_layers(options.layers())
                                                  .bias(options.recurrent_bias())
                                                  .batch_first(true)));
  projection = register_module("projection", torch::nn::Linear(options.hidden(), common.dim()));
}

torch::Tensor GRU4RecImpl::final_scores(const torch::Tensor& scores) const {
  if (options.final_activation() == "tanh") return scores.tanh();
  return options.final_activation() == "elu" ? torch::elu(scores) : scores;
}

torch::Tensor GRU4RecImpl::states(const torch::Tensor& items, const data::Events& events) {
  if (items.size(0) == 0) return items;
  const auto x = nn::drop(items, common.dropout(), is_training());
  const auto padded = nn::pad_ragged(x, events.offsets);
  const auto h = std::get<0>(gru->forward(padded.values));  // [B, T, H]
  return nn::dense(nn::unpad_ragged(h, padded.valid).values, *projection);
}

torch::Tensor GRU4RecImpl::step(const torch::Tensor& item, Memory& memory) {
  const auto before = memory.parts.empty() ? torch::Tensor() : memory.parts[0];  // [layers, 1, H]
  const auto [h, after] = gru->forward(item.unsqueeze(0), before);
  memory.parts = {after};
  return nn::dense(h.squeeze(0), *projection);
}

}  // namespace polyscene::models
