#include "polyscene/models/text/text_classifier.h"

#include <algorithm>
#include <utility>

#include "polyscene/core/errors.h"
#include "polyscene/data/classes.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/masks.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {
namespace {

constexpr const char* kTextClassifier = "TextClassifier";
const std::vector<std::string> kSceneUses = {"none", "embedding", "heads"};

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
  TORCH_CHECK_VALUE(std::find(kSceneUses.begin(), kSceneUses.end(), options.scene()) != kSceneUses.end(),
                    kTextClassifier, ": scene must be one of ", join(kSceneUses), ", got '", options.scene(), "'",
                    suggestion(options.scene(), kSceneUses));
  TORCH_CHECK_VALUE(options.label_smoothing() >= 0 && options.label_smoothing() < 1, kTextClassifier,
                    ": label_smoothing must be in [0, 1), got ", options.label_smoothing());
  TORCH_CHECK_VALUE(options.init_std() >= 0, kTextClassifier, ": init_std must be 0 or more, got ", options.init_std());
  classes_ = data::num_classes(known);
  column_ = text->name;
  rows_.add(column_, known.list_rows(*text));

  auto table = torch::empty({rows_.total(), options.dim()}).normal_(0, options.init_std());
  table.narrow(0, 0, std::min(data::kFirstId, rows_.total())).zero_();
  words = register_module(
      "words",
      torch::nn::Embedding(torch::nn::EmbeddingOptions(rows_.total(), options.dim())._weight(std::move(table))));
  encoder = register_module("encoder", nn::TextEncoder(options.dim(), nn::TextEncoderOptions()
                                                                          .kind(options.encoder())
                                                                          .hidden(options.width())
                                                                          .layers(options.layers())
                                                                          .kernel(options.kernel())
                                                                          .heads(options.heads())
                                                                          .dropout(options.dropout())
                                                                          .max_length(text->max_length)));
  if (options.scene() == "embedding") {
    scene_vectors = register_parameter("scene_vectors", torch::zeros({known.num_scenes(), encoder->output_size()}));
  }
  auto width = encoder->output_size();
  if (!options.hidden().empty()) {
    hidden =
        register_module("hidden", nn::MLP(width, nn::MLPOptions().hidden(options.hidden()).dropout(options.dropout())));
    width = hidden->output_size();
  }
  const bool heads = options.scene() == "heads";
  output =
      register_module(heads ? "scene_output" : "output",  // what is of scenes is carried to none but the same scenes
                      torch::nn::Linear(width, heads ? known.num_scenes() * classes_ : classes_));
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
  auto r = read(batch).output;  // [B, width]
  if (scene_vectors.defined()) r = r + scene_vectors.index_select(0, batch.scene);
  const auto h = hidden.is_empty() ? r : hidden->forward(r);  // [B, H]
  nn::tell_output(*this, h);
  const auto all = nn::dense(h, output->weight, output->bias);  // [B, C] or [B, S C]
  if (options.scene() != "heads") return all;
  const auto own = batch.scene.view({-1, 1, 1}).expand({-1, 1, classes_});
  return all.view({all.size(0), schema().num_scenes(), classes_}).gather(1, own).squeeze(1);
}

torch::Tensor TextClassifierImpl::loss(const data::Batch& batch) {
  const auto logits = forward(batch);
  const auto exact = task_loss(logits, batch);
  if (options.label_smoothing() == 0) return exact;
  const auto spread = weighted_mean(-logits.log_softmax(1).mean(1), batch.weight);
  return (1 - options.label_smoothing()) * exact + options.label_smoothing() * spread;
}

Explanation TextClassifierImpl::explain(const data::Batch& batch) {
  const auto& offsets = text_of(batch).offsets;
  const auto weights = read(batch).weights;
  return {{"attention", nn::pad_ragged(weights, offsets).values}, {"words", offsets.diff()}};
}

}  // namespace polyscene::models
