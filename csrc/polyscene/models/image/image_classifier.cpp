#include "polyscene/models/image/image_classifier.h"

#include <algorithm>
#include <utility>

#include "polyscene/nn/checks.h"

namespace polyscene::models {
namespace {

constexpr const char* kImageClassifier = "ImageClassifier";
constexpr int64_t kPixelRows = 1024;  // rows that are looked at together

}  // namespace

ImageClassifierImpl::ImageClassifierImpl(std::shared_ptr<const data::Schema> schema_, ImageClassifierOptions options_)
    : Model(std::move(schema_)), options(std::move(options_)) {
  const auto& known = schema();
  TORCH_CHECK_VALUE(known.task == "image", kImageClassifier, ": the task must be 'image', got '", known.task, "'");
  const auto columns = data::image_columns(known);
  TORCH_CHECK_VALUE(!columns.empty(), kImageClassifier,
                    ": the data must have an image column; name it when the table is read");
  nn::check_dropout(kImageClassifier, options.dropout());
  check_class_head(kImageClassifier, options.scene(), options.label_smoothing());
  size_ = columns.front();
  pixel_mean = register_buffer("pixel_mean", torch::zeros({size_.channels}));
  pixel_std = register_buffer("pixel_std", torch::ones({size_.channels}));
  pixel_rows = register_buffer("pixel_rows", torch::zeros({size_.channels}, torch::kInt64));
  augment = register_module("augment", nn::ImageAugment(nn::ImageAugmentOptions()
                                                            .shift(options.shift())
                                                            .rotate(options.rotate())
                                                            .scale(options.scale())
                                                            .crop(options.crop())
                                                            .flip(options.flip())
                                                            .brightness(options.brightness())
                                                            .contrast(options.contrast())));
  encoder = register_module("encoder", nn::ImageEncoder(size_.channels, nn::ImageEncoderOptions()
                                                                            .kind(options.encoder())
                                                                            .widths(options.widths())
                                                                            .layers(options.layers())
                                                                            .kernel(options.kernel())
                                                                            .norm(options.norm())
                                                                            .pool(options.pool())
                                                                            .dropout(options.dropout())));
  head.build(*this, {encoder->output_size(), options.hidden(), options.scene(), options.dropout()});
}

void ImageClassifierImpl::prepare(const data::Table& train) {
  Model::prepare(train);
  if (pixel_rows[0].item<int64_t>() > 0) return;
  const torch::NoGradGuard no_grad;
  // Counts are whole numbers, so that neither threads nor the order of rows change a bit.
  auto counts = torch::zeros({size_.channels, 256}, torch::kInt64);
  int64_t rows = 0;
  for (int64_t begin = 0; begin < train.size(); begin += kPixelRows) {
    const auto batch = train.batch(torch::arange(begin, std::min(begin + kPixelRows, train.size())), false, 0);
    const auto all = batch.sequence.at(size_.column).values.view({-1, size_.channels, size_.height * size_.width});
    rows += all.size(0);
    for (int64_t c = 0; c < size_.channels; ++c) {
      counts[c] += torch::bincount(all.select(1, c).reshape({-1}), /*weights=*/{}, /*minlength=*/256);
    }
  }
  if (rows == 0) return;
  const auto share = counts.to(torch::kFloat64) / counts[0].sum();
  const auto level = torch::arange(256, torch::kFloat64) / 255;
  const auto mean = (share * level).sum(1);
  const auto sd = (share * (level - mean.unsqueeze(1)).square()).sum(1).sqrt();
  pixel_mean.copy_(mean);
  pixel_std.copy_(torch::where(sd > 0, sd, torch::ones_like(sd)));
  pixel_rows.fill_(rows);
}

nn::Attended ImageClassifierImpl::read(const data::Batch& batch) {
  check(batch);
  const auto x = augment->forward(data::images(batch, size_).to(pixel_mean.scalar_type()));  // [B, channels, h, w]
  const auto one = [](const torch::Tensor& each) { return each.view({1, -1, 1, 1}); };
  return encoder->attend((x - one(pixel_mean)) / one(pixel_std));
}

torch::Tensor ImageClassifierImpl::forward(const data::Batch& batch) {
  return head.forward(*this, read(batch).output, batch.scene);
}

torch::Tensor ImageClassifierImpl::loss(const data::Batch& batch) {
  return smoothed_loss(*this, forward(batch), batch, options.label_smoothing());
}

Explanation ImageClassifierImpl::explain(const data::Batch& batch) { return {{"attention", read(batch).weights}}; }

}  // namespace polyscene::models
