#include "polyscene/models/multi_modal/multi_modal.h"

#include <algorithm>
#include <utility>

#include "polyscene/data/classes.h"
#include "polyscene/models/ranking_model.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/masks.h"

namespace polyscene::models {
namespace {

constexpr const char* kMultiModal = "MultiModal";

const data::Ragged& list_of(const data::Batch& batch, const std::string& column, const char* kind) {
  const auto found = batch.sequence.find(column);
  TORCH_CHECK_VALUE(found != batch.sequence.end(), kMultiModal, ": the batch has no ", kind, " column '", column, "'");
  return found->second;
}

}  // namespace

MultiModalImpl::MultiModalImpl(std::shared_ptr<const data::Schema> schema_, MultiModalOptions options_)
    : Model(std::move(schema_)), options(std::move(options_)) {
  const auto& known = schema();
  TORCH_CHECK_VALUE(data::has_classes(known.task), kMultiModal, ": the task must be 'text' or 'image', got '",
                    known.task, "'");
  nn::check_positive(kMultiModal, "dim", options.dim());
  nn::check_dropout(kMultiModal, options.dropout());
  TORCH_CHECK_VALUE(options.init_std() >= 0, kMultiModal, ": init_std must be 0 or more, got ", options.init_std());
  check_class_head(kMultiModal, options.scene(), options.label_smoothing());
  std::vector<int64_t> sizes;
  nn::FeatureEmbeddingOptions fields;
  fields.dim = options.dim(), fields.init_std = options.init_std();
  nn::FeatureEmbedding table(known, fields);
  if (table->slots() > 0) {
    ids = register_module("ids", std::move(table));
    modalities_.emplace_back("ids");
    sizes.push_back(ids->slots() * options.dim());
  }
  const auto text = std::find_if(known.lists.begin(), known.lists.end(),
                                 [](const data::ListField& list) { return list.kind == "text"; });
  if (text != known.lists.end()) {
    text_column_ = text->name;
    word_rows_.add(text_column_, known.list_rows(*text));
    words = register_module("words", normal_table(word_rows_.total(), options.dim(), options.init_std()));
    text_encoder = register_module("text_encoder", nn::TextEncoder(options.dim(), nn::TextEncoderOptions()
                                                                                      .kind(options.text())
                                                                                      .hidden(options.width())
                                                                                      .layers(options.layers())
                                                                                      .kernel(options.kernel())
                                                                                      .heads(options.heads())
                                                                                      .dropout(options.dropout())
                                                                                      .max_length(text->max_length)));
    modalities_.push_back(text_column_);
    sizes.push_back(text_encoder->output_size());
  }
  images_ = data::image_columns(known);
  if (!images_.empty()) image_encoders = register_module("image_encoders", torch::nn::ModuleList());
  for (const auto& column : images_) {
    image_encoders->push_back(nn::ImageEncoder(
        column.channels,
        nn::ImageEncoderOptions().kind(options.image()).widths(options.image_widths()).dropout(options.dropout())));
    modalities_.push_back(column.column);
    sizes.push_back(options.image_widths().back());
  }
  TORCH_CHECK_VALUE(!sizes.empty(), kMultiModal,
                    ": the data must have a categorical field, a text column or an image column; name one when the "
                    "table is read");
  fusion = register_module("fusion", nn::Fusion(sizes, nn::FusionOptions()
                                                           .kind(options.fusion())
                                                           .hidden(options.fused())
                                                           .heads(options.fusion_heads())
                                                           .dropout(options.dropout())));
  head.build(*this, {options.fused(), options.hidden(), options.scene(), options.dropout()});
}

std::pair<torch::Tensor, torch::Tensor> MultiModalImpl::read_ids(const data::Batch& batch) {
  const auto slots = ids->forward(batch);                                     // [B, F + L, D]
  std::vector<torch::Tensor> known = {batch.categorical.ne(data::kMissing)};  // [B, F]
  for (const auto& [name, owner] : ids->lists) {
    known.push_back(batch.sequence.at(name).offsets.diff().gt(0).unsqueeze(1).to(slots.device()));
  }
  const auto here = torch::cat(known, 1);  // [B, F + L]
  return {slots.masked_fill(~here.unsqueeze(2), 0).flatten(1), here.any(1)};
}

MultiModalImpl::Read MultiModalImpl::read(const data::Batch& batch) {
  check(batch);
  Read out;
  std::vector<torch::Tensor> x, present;
  if (!ids.is_empty()) {
    const auto [vectors, here] = read_ids(batch);
    x.push_back(vectors);
    present.push_back(here);
  }
  if (!words.is_empty()) {
    const auto& text = list_of(batch, text_column_, "text");
    const auto found =
        nn::lookup(words->weight, text.values.unsqueeze(1), word_rows_, words->options.sparse()).squeeze(1);
    out.text = text_encoder->attend(nn::drop(found, options.dropout(), is_training()), text.offsets);
    x.push_back(out.text.output);
    present.push_back(text.offsets.diff().gt(0));
  }
  for (size_t i = 0; i < images_.size(); ++i) {
    const auto& held = list_of(batch, images_[i].column, "image");
    const auto pixels = data::images(batch, images_[i]).to(fusion->parameters()[0].scalar_type());  // [B, C, h, w]
    const auto seen = image_encoders->at<nn::ImageEncoderImpl>(i).attend(2 * pixels - 1);
    x.push_back(seen.output);
    out.positions.push_back(seen.weights);
    present.push_back(held.offsets.diff().gt(0));
  }
  for (auto& each : present) each = each.to(x[0].device());
  out.present = torch::stack(present, 1);  // [B, M]
  out.fused = fusion->attend(x, out.present);
  return out;
}

torch::Tensor MultiModalImpl::forward(const data::Batch& batch) {
  return head.forward(*this, read(batch).fused.output, batch.scene);
}

torch::Tensor MultiModalImpl::loss(const data::Batch& batch) {
  return smoothed_loss(*this, forward(batch), batch, options.label_smoothing());
}

Explanation MultiModalImpl::explain(const data::Batch& batch) {
  const auto found = read(batch);
  Explanation out = {{"weights", found.fused.weights}, {"present", found.present}};
  if (!words.is_empty()) {
    const auto& offsets = list_of(batch, text_column_, "text").offsets;
    out.emplace_back("attention", nn::pad_ragged(found.text.weights, offsets).values);
    out.emplace_back("words", offsets.diff());
  }
  for (size_t i = 0; i < images_.size(); ++i) {
    out.emplace_back("attention_" + images_[i].column, found.positions[i]);
  }
  return out;
}

}  // namespace polyscene::models
