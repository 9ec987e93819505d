#include "polyscene/nn/encoder.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/masks.h"

namespace polyscene::nn {

namespace {

constexpr const char* kEncoder = "SequenceEncoder";
const std::vector<std::string> kEncoderKinds = {"gru", "lstm", "cnn", "transformer"};

}  // namespace

SequenceEncoderImpl::SequenceEncoderImpl(int64_t input_size_, SequenceEncoderOptions options_)
    : input_size(input_size_), options(std::move(options_)) {
  check_positive(kEncoder, "input_size", input_size);
  check_positive(kEncoder, "hidden", options.hidden());
  check_positive(kEncoder, "layers", options.layers());
  check_dropout(kEncoder, options.dropout());
  TORCH_CHECK_VALUE(options.scenes() >= 0, kEncoder, ": scenes must not be negative, got ", options.scenes());
  TORCH_CHECK_VALUE(std::find(kEncoderKinds.begin(), kEncoderKinds.end(), options.kind()) != kEncoderKinds.end(),
                    kEncoder, ": kind must be one of ", join(kEncoderKinds), ", got '", options.kind(), "'",
                    suggestion(options.kind(), kEncoderKinds));
  reset();
}

void SequenceEncoderImpl::reset() {
  if (options.scenes() > 0) {
    scene_embedding = register_module("scene_embedding", torch::nn::Embedding(options.scenes(), input_size));
    torch::nn::init::normal_(scene_embedding->weight, 0, 0.02);
  }
  // torch warns of dropout with a single layer, where there is nothing between layers.
  const auto between = options.layers() > 1 ? options.dropout() : 0.0;
  if (options.kind() == "gru") {
    gru = register_module("gru", torch::nn::GRU(torch::nn::GRUOptions(input_size, options.hidden())
                                                    .num_layers(options.layers())
                                                    .dropout(between)
                                                    .batch_first(true)));
  } else if (options.kind() == "lstm") {
    lstm = register_module("lstm", torch::nn::LSTM(torch::nn::LSTMOptions(input_size, options.hidden())
                                                       .num_layers(options.layers())
                                                       .dropout(between)
                                                       .batch_first(true)));
  } else if (options.kind() == "cnn") {
    cnn = register_module("cnn", ConvEncoder(input_size, ConvEncoderOptions()
                                                             .hidden(options.hidden())
                                                             .layers(options.layers())
                                                             .kernel(options.kernel())
                                                             .dropout(options.dropout())));
  } else {
    transformer = register_module("transformer", TransformerEncoder(input_size, TransformerEncoderOptions()
                                                                                    .hidden(options.hidden())
                                                                                    .layers(options.layers())
                                                                                    .heads(options.heads())
                                                                                    .feedforward(options.feedforward())
                                                                                    .max_length(options.max_length())
                                                                                    .dropout(options.dropout())));
  }
}

torch::Tensor SequenceEncoderImpl::add_scene(const torch::Tensor& x, const torch::Tensor& valid,
                                             const std::optional<torch::Tensor>& scene) {
  if (options.scenes() == 0) {
    TORCH_CHECK_VALUE(!scene, kEncoder,
                      ": scene was given, but the options name no scenes; set scenes to their number");
    return x;
  }
  TORCH_CHECK_VALUE(scene, kEncoder, ": scene [B, T] is needed, since scenes is ", options.scenes());
  TORCH_CHECK_VALUE(scene->sizes() == valid.sizes() && scene->scalar_type() == torch::kLong, kEncoder,
                    ": scene must be int64 ", valid.sizes(), ", got ", scene->scalar_type(), " ", scene->sizes());
  const auto ids = scene->masked_fill(~valid, 0);
  if (ids.device().is_cpu() && ids.numel() > 0) {
    const auto [low, high] = ids.aminmax();
    TORCH_CHECK_INDEX(low.item<int64_t>() >= 0 && high.item<int64_t>() < options.scenes(), kEncoder,
                      ": scene must be in [0, ", options.scenes(), "), got ", low.item<int64_t>(), " to ",
                      high.item<int64_t>());
  }
  return x + scene_embedding->forward(ids);
}

torch::Tensor SequenceEncoderImpl::forward(const torch::Tensor& x, const torch::Tensor& valid,
                                           const std::optional<torch::Tensor>& scene) {
  check_sequence(kEncoder, "x", x, input_size);
  check_valid(kEncoder, valid, x.size(0), x.size(1));
  const auto input = add_scene(zero_padding(x, valid), valid, scene);  // [B, T, D]
  if (valid.numel() == 0) {
    return x.new_zeros({x.size(0), x.size(1), options.hidden()});
  }
  torch::Tensor states;  // [B, T, H]
  if (!gru.is_empty()) {
    states = std::get<0>(gru->forward(input));
  } else if (!lstm.is_empty()) {
    states = std::get<0>(lstm->forward(input));
  } else if (!cnn.is_empty()) {
    states = cnn->forward(input);
  } else {
    states = transformer->forward(input, valid);
  }
  return zero_padding(states, valid);
}

torch::Tensor last_state(const torch::Tensor& states, const torch::Tensor& valid) {
  TORCH_CHECK_VALUE(states.dim() == 3, "last_state: states must be [B, T, H], got ", states.sizes());
  check_valid("last_state", valid, states.size(0), states.size(1));
  if (states.size(1) == 0) {
    return states.new_zeros({states.size(0), states.size(2)});
  }
  const auto length = valid.sum(1, /*keepdim=*/false, torch::kLong);  // [B]
  const auto index = (length - 1).clamp_min(0).view({-1, 1, 1}).expand({-1, 1, states.size(2)});
  const auto state = states.gather(1, index).squeeze(1);  // [B, H]
  return zero_padding(state, length > 0);
}

}  // namespace polyscene::nn
