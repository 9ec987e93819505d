#include "polyscene/data/images.h"

#include <algorithm>

#include "polyscene/core/json.h"

namespace polyscene::data {

std::vector<ImageSize> image_columns(const Schema& schema) {
  std::vector<ImageSize> out;
  Json reader;
  for (const auto& list : schema.lists) {
    if (list.kind != "image") continue;
    if (out.empty()) reader = Json::parse(schema.reader, nullptr, /*allow_exceptions=*/false);
    ImageSize size{list.name};
    if (reader.is_object() && reader.contains("images")) {
      for (const auto& each : reader["images"]) {
        if (each.value("name", "") != list.name) continue;
        size.channels = each.value("channels", int64_t{0});
        size.height = each.value("height", int64_t{0});
        size.width = each.value("width", int64_t{0});
      }
    }
    TORCH_CHECK_VALUE(size.pixels() > 0, "image column '", list.name,
                      "': the schema does not tell the size of its images");
    out.push_back(size);
  }
  return out;
}

torch::Tensor images(const Batch& batch, const ImageSize& size) {
  const auto found = batch.sequence.find(size.column);
  TORCH_CHECK_VALUE(found != batch.sequence.end(), "images: the batch has no image column '", size.column, "'");
  const auto& [values, offsets] = found->second;
  const auto rows = offsets.numel() - 1, pixels = size.pixels();
  const auto scaled = values.to(torch::kFloat32).div_(255);
  const std::vector<int64_t> shape = {rows, size.channels, size.height, size.width};
  const auto counts = offsets.diff();
  const auto known = counts.gt(0);
  const auto odd = counts.masked_select(known.logical_and(counts.ne(pixels)));
  TORCH_CHECK_VALUE(odd.numel() == 0, "images: an image of column '", size.column, "' must have ", pixels, " pixels (",
                    size.channels, " x ", size.height, " x ", size.width, "), got ", odd[0].item<int64_t>());
  if (scaled.numel() == rows * pixels) return scaled.view(shape);
  auto out = torch::zeros({rows, pixels}, scaled.options());
  const auto where = known.nonzero().squeeze(1).to(out.device());
  return out.index_copy_(0, where, scaled.view({-1, pixels})).view(shape);
}

Ragged pixels_of(const Ragged& source, const std::vector<int64_t>& rows) {
  TORCH_CHECK_VALUE(source.values.scalar_type() == torch::kUInt8,
                    "table: an image column must hold pixels (uint8), got ", source.values.scalar_type());
  const auto* offsets = source.offsets.const_data_ptr<int64_t>();
  const auto* values = source.values.const_data_ptr<uint8_t>();
  Ragged out{{}, torch::zeros({static_cast<int64_t>(rows.size()) + 1}, torch::kInt64)};
  auto* end = out.offsets.data_ptr<int64_t>();
  for (size_t i = 0; i < rows.size(); ++i) end[i + 1] = end[i] + offsets[rows[i] + 1] - offsets[rows[i]];
  out.values = torch::empty({end[rows.size()]}, torch::kInt32);
  auto* to = out.values.data_ptr<int32_t>();
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy(values + offsets[rows[i]], values + offsets[rows[i] + 1], to + end[i]);
  }
  return out;
}

}  // namespace polyscene::data
