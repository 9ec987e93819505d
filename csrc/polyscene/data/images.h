#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "polyscene/data/batch.h"
#include "polyscene/data/schema.h"

namespace polyscene::data {

/// Size of the images of a column.
struct ImageSize {
  std::string column;
  int64_t channels = 1, height = 0, width = 0;

  /// Pixels of an image, channels times height times width.
  int64_t pixels() const { return channels * height * width; }
};

/// The image columns of the schema, in their order. Empty when there are none. Throws ValueError for an image column
/// whose size the reader does not tell.
std::vector<ImageSize> image_columns(const Schema& schema);

/// Images of a batch's column, float32 in [0, 1], [B, channels, height, width]; an image that is missing is 0. Throws
/// ValueError for a batch without the column, and for an image of another number of pixels.
torch::Tensor images(const Batch& batch, const ImageSize& size);

/// Pixels of the images of some rows of a source, int32; those of the source are uint8. Throws ValueError for others.
Ragged pixels_of(const Ragged& source, const std::vector<int64_t>& rows);

}  // namespace polyscene::data
