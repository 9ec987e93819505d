#pragma once

#include <torch/torch.h>

#include "polyscene/nn/lookup.h"

namespace polyscene::nn {

/// Rows of a lookup table in 8 bits, for inference. A packed row holds D whole numbers and after them the four bytes of
/// its scale, so that one access fetches both:
///
///   row[d] = scale q[d],   scale = max_d |row[d]| / 127,   q[d] = round(row[d] / scale) in [-127, 127]
///
/// No number is off by more than half a scale. Shapes: rows float [V, D], packed int8 [V, D + 4].
inline constexpr int64_t kScaleBytes = 4;

/// Throws ValueError for what is no [V, D] of finite numbers.
torch::Tensor pack_int8(const torch::Tensor& rows);
/// float32 [..., D] of packed rows int8 [..., D + 4].
torch::Tensor unpack_int8(const torch::Tensor& packed);
/// `found` as it is, or unpacked where it was looked up in a packed table.
torch::Tensor unpacked(const torch::Tensor& found);

/// `lookup` in a packed table: float32 [B, F, D] in one pass; undefined where an index is outside its field.
torch::Tensor lookup_int8(const torch::Tensor& packed, const torch::Tensor& index, const FieldRows& fields);

}  // namespace polyscene::nn
