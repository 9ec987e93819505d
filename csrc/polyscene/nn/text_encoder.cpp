#include "polyscene/nn/text_encoder.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "polyscene/core/errors.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/layer_norm_activation.h"
#include "polyscene/nn/lookup.h"
#include "polyscene/nn/masks.h"
#include "polyscene/nn/ragged_attention.h"

namespace polyscene::nn {
namespace {

constexpr const char* kText = "TextEncoder";
const std::vector<std::string> kTextKinds = {"mean", "bilstm", "cnn", "transformer"};

// The text of each word, int64 [L].
torch::Tensor owners(const torch::Tensor& offsets) {
  return torch::repeat_interleave(torch::arange(offsets.numel() - 1, offsets.options()), offsets.diff());
}

}  // namespace

TextEncoderImpl::TextEncoderImpl(int64_t input_size_, TextEncoderOptions options_)
    : input_size(input_size_), options(std::move(options_)) {
  check_positive(kText, "input_size", input_size);
  check_positive(kText, "hidden", options.hidden());
  check_positive(kText, "layers", options.layers());
  check_positive(kText, "heads", options.heads());
  check_positive(kText, "max_length", options.max_length());
  check_dropout(kText, options.dropout());
  TORCH_CHECK_VALUE(std::find(kTextKinds.begin(), kTextKinds.end(), options.kind()) != kTextKinds.end(), kText,
                    ": kind must be one of ", join(kTextKinds), ", got '", options.kind(), "'",
                    suggestion(options.kind(), kTextKinds));
  TORCH_CHECK_VALUE(options.kernel() > 0 && options.kernel() % 2 == 1, kText, ": kernel must be odd, got ",
                    options.kernel());
  TORCH_CHECK_VALUE(options.kind() != "bilstm" || options.hidden() % 2 == 0, kText,
                    ": hidden must be even, half of it for each direction, got ", options.hidden());
  TORCH_CHECK_VALUE(options.kind() != "transformer" || options.hidden() % options.heads() == 0, kText, ": heads (",
                    options.heads(), ") must divide hidden (", options.hidden(), ")");
  reset();
}

void TextEncoderImpl::reset() {
  const auto width = options.hidden();
  if (options.kind() == "bilstm") {
    const auto one =
        SequenceEncoderOptions().kind("lstm").hidden(width / 2).layers(options.layers()).dropout(options.dropout());
    forwards = register_module("forwards", SequenceEncoder(input_size, one));
    backwards = register_module("backwards", SequenceEncoder(input_size, one));
  } else if (options.kind() == "cnn") {
    convolutions = register_module("convolutions", torch::nn::ModuleList());
    for (int64_t layer = 0; layer < options.layers(); ++layer) {
      convolutions->push_back(
          torch::nn::Conv1d(torch::nn::Conv1dOptions(layer == 0 ? input_size : width, width, options.kernel())
                                .padding(options.kernel() / 2)));
    }
  } else if (options.kind() == "transformer") {
    input_projection = register_module("input_projection", torch::nn::Linear(input_size, width));
    positions = register_parameter("positions", torch::empty({options.max_length(), width}));
    torch::nn::init::normal_(positions, 0, 0.02);
    const auto list = [&](const char* name) { return register_module(name, torch::nn::ModuleList()); };
    attention_norms = list("attention_norms"), feedforward_norms = list("feedforward_norms");
    queries = list("queries"), keys_values = list("keys_values"), outputs = list("outputs");
    inner = list("inner"), outer = list("outer");
    for (int64_t layer = 0; layer < options.layers(); ++layer) {
      attention_norms->push_back(torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
      queries->push_back(torch::nn::Linear(width, width));
      keys_values->push_back(torch::nn::Linear(width, 2 * width));
      outputs->push_back(torch::nn::Linear(width, width));
      feedforward_norms->push_back(torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
      inner->push_back(torch::nn::Linear(width, 4 * width));
      outer->push_back(torch::nn::Linear(4 * width, width));
    }
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
  }
  if (options.kind() == "mean") return;
  word = register_module("word", torch::nn::Linear(width, width));
  context = register_parameter("context", torch::empty({width}));
  const auto bound = 1 / std::sqrt(static_cast<double>(width));
  torch::nn::init::uniform_(context, -bound, bound);
}

torch::Tensor TextEncoderImpl::both_ways(const torch::Tensor& x, const torch::Tensor& offsets) {
  // Each direction is causal over texts padded on the right, so that padding reaches no word.
  const auto row = owners(offsets);
  const auto turned = offsets.index_select(0, row) + offsets.index_select(0, row + 1) - 1 -
                      torch::arange(row.numel(), offsets.options());  // [L], its own inverse
  const auto run = [&](SequenceEncoder& encoder, const torch::Tensor& words) {
    const auto padded = pad_ragged(words, offsets);
    return unpad_ragged(encoder->forward(padded.values, padded.valid), padded.valid).values;  // [L, H / 2]
  };
  return torch::cat({run(forwards, x), run(backwards, x.index_select(0, turned)).index_select(0, turned)}, 1);
}

torch::Tensor TextEncoderImpl::convolved(const torch::Tensor& x, const torch::Tensor& offsets) {
  const auto padded = pad_ragged(x, offsets);
  auto h = padded.values;  // [B, T, D]
  for (size_t layer = 0; layer < convolutions->size(); ++layer) {
    auto& filters = convolutions->at<torch::nn::Conv1dImpl>(layer);
    const auto next = filters.forward(h.transpose(1, 2)).relu().transpose(1, 2);  // [B, T, H]
    h = zero_padding(layer == 0 ? next : h + next, padded.valid);
  }
  return unpad_ragged(h, padded.valid).values;
}

torch::Tensor TextEncoderImpl::transformed(const torch::Tensor& x, const torch::Tensor& offsets) {
  const auto longest = offsets.diff().max().item<int64_t>();
  TORCH_CHECK_VALUE(longest <= options.max_length(), kText, ": texts may have ", options.max_length(), " words, got ",
                    longest, "; raise max_length or keep fewer words");
  const auto place = torch::arange(x.size(0), offsets.options()) - offsets.index_select(0, owners(offsets));
  const auto p_t = lookup(positions, place.unsqueeze(1), FieldRows{{"position"}, {0, options.max_length()}}).squeeze(1);
  const auto dropped = [&](const torch::Tensor& each) { return drop(each, options.dropout(), is_training()); };
  auto h = dropped(dense(x, input_projection->weight, input_projection->bias) + p_t);
  const auto p = is_training() ? options.dropout() : 0.0;
  for (size_t layer = 0; layer < queries->size(); ++layer) {
    const auto a = layer_norm(h, attention_norms, layer);  // [L, H]
    const auto met = ragged_attention(dense(a, queries, layer), dense(a, keys_values, layer), offsets, options.heads(),
                                      /*causal=*/false, p);
    h = h + dropped(dense(met, outputs, layer));
    const auto f = layer_norm(h, feedforward_norms, layer);
    h = h + dropped(dense(dropped(torch::gelu(dense(f, inner, layer))), outer, layer));
  }
  return layer_norm(h, *norm);
}

torch::Tensor TextEncoderImpl::states(const torch::Tensor& x, const torch::Tensor& offsets) {
  if (options.kind() == "mean") return x;
  const auto h = options.kind() == "bilstm" ? both_ways(x, offsets)
                 : options.kind() == "cnn"  ? convolved(x, offsets)
                                            : transformed(x, offsets);
  return options.kind() == "transformer" ? h : drop(h, options.dropout(), is_training());
}

torch::Tensor TextEncoderImpl::forward(const torch::Tensor& x, const torch::Tensor& offsets) {
  return attend(x, offsets).output;
}

Attended TextEncoderImpl::attend(const torch::Tensor& x, const torch::Tensor& given) {
  TORCH_CHECK_VALUE(x.dim() == 2 && x.size(1) == input_size, kText, ": x must be [L, ", input_size, "], got ",
                    x.sizes());
  TORCH_CHECK_VALUE(given.dim() == 1 && given.numel() >= 1 && given.scalar_type() == torch::kLong, kText,
                    ": offsets must be int64 [B + 1], got ", given.scalar_type(), " ", given.sizes());
  const auto offsets = given.to(torch::kCPU);
  TORCH_CHECK_VALUE(offsets[0].item<int64_t>() == 0 && offsets[-1].item<int64_t>() == x.size(0), kText,
                    ": offsets must run from 0 to the ", x.size(0), " words, got ", offsets[0].item<int64_t>(), " to ",
                    offsets[-1].item<int64_t>());
  const auto texts = offsets.numel() - 1;
  if (x.size(0) == 0) return {x.new_zeros({texts, output_size()}), x.new_zeros({0})};
  const auto h = states(x, offsets);  // [L, H]
  torch::Tensor weights;              // [L]
  if (options.kind() == "mean") {
    const auto lengths = offsets.diff().index_select(0, owners(offsets));
    weights = lengths.to(x.options()).reciprocal();
  } else {
    const auto scores = dense(dense(h, word->weight, word->bias).tanh(), context.unsqueeze(0)).squeeze(1);  // [L]
    const auto side = pad_ragged(scores, offsets);
    weights = unpad_ragged(masked_softmax(side.values, side.valid), side.valid).values;
  }
  const auto out = at::segment_reduce(h * weights.unsqueeze(1), "sum", /*lengths=*/{}, /*indices=*/{}, offsets,
                                      /*axis=*/0, /*unsafe=*/true, /*initial=*/0);  // [B, H]
  return {out, weights};
}

}  // namespace polyscene::nn
