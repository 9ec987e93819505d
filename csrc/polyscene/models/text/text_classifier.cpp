#include "polyscene/models/text/text_classifier.h"

#include <algorithm>
#include <utility>

#include "polyscene/models/ranking_model.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/masks.h"

namespace polyscene::models {
namespace {

constexpr const char* kTextClassifier = "TextClassifier";

}  // namespace

TextClassifierImpl::TextClassifierImpl(std::shared_ptr<const data::Schema> schema_, TextClassifierOptions options_)
    : Model(std::move(schema_)), options(std::move(options_)) {
  const auto& known = schema();
  TORCH_CHECK_VALUE(known.task == "text", kTextClassifier, ": the task must be 'text', got '", known.task, "'");
  const auto text = std::find_if(known.lists.begin(), known.lists.end(),
                                 [](const data::ListField& list) { return list.kind == "text"; });
  TORCH_CHECK_VALUE(text != known.lists.end(), kTextClassifier,
                    ": the data must have a text column; name it when the table is read");
  nn::check_positive(kTextClassifier, "dim", options.dim());
  nn::check_dropout(kTextClassifier, options.dropout());
  check_class_head(kTextClassifier, options.scene(), options.label_smoothing());
  TORCH_CHECK_VALUE(options.init_std() >= 0, kTextClassifier, ": init_std must be 0 or more, got ", options.init_std());
  column_ = text->name;
  rows_.add(column_, known.list_rows(*text));

  words = register_module("words", normal_table(rows_.total(), options.dim(), options.init_std()));
  encoder = register_module("encoder", nn::TextEncoder(options.dim(), nn::TextEncoderOptions()
                                                                          .kind(options.encoder())
                                                                          .hidden(options.width())
                                                                          .layers(options.layers())
                                                                          .kernel(options.kernel())
                                                                          .heads(options.heads())
                                                                          .dropout(options.dropout())
                                                                          .max_length(text->max_length)));
  head.build(*this, {encoder->output_size(), options.hidden(), options.scene(), options.dropout()});
}

const data::Ragged& TextClassifierImpl::text_of(const data::Batch& batch) const {
  const auto found = batch.sequence.find(column_);
  TORCH_CHECK_VALUE(found != batch.sequence.end(), kTextClassifier, ": the batch has no text column '", column_, "'");
  return found->second;
}

nn::Attended TextClassifierImpl::read(const data::Batch& batch) {
  check(batch);
  const auto& text = text_of(batch);
  const auto found = nn::lookup(words->weight, text.values.unsqueeze(1), rows_, words->options.sparse()).squeeze(1);
  return encoder->attend(nn::drop(found, options.dropout(), is_training()), text.offsets);
}

torch::Tensor TextClassifierImpl::forward(const data::Batch& batch) {
  return head.forward(*this, read(batch).output, batch.scene);
}

torch::Tensor TextClassifierImpl::loss(const data::Batch& batch) {
  return smoothed_loss(*this, forward(batch), batch, options.label_smoothing());
}

Explanation TextClassifierImpl::explain(const data::Batch& batch) {
  const auto& offsets = text_of(batch).offsets;
  const auto weights = read(batch).weights;
  return {{"attention", nn::pad_ragged(weights, offsets).values}, {"words", offsets.diff()}};
}

}  // namespace polyscene::models
