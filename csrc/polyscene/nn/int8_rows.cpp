#include "polyscene/nn/int8_rows.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

namespace polyscene::nn {
namespace {

constexpr int64_t kPackedGrain = 256;  // rows a task

void unpack_row(const int8_t* packed, int64_t width, float* out) {
  float scale;
  std::memcpy(&scale, packed + width, kScaleBytes);
  for (int64_t d = 0; d < width; ++d) out[d] = scale * static_cast<float>(packed[d]);
}

void check_packed(const torch::Tensor& packed) {
  TORCH_CHECK_VALUE(packed.scalar_type() == torch::kInt8 && packed.dim() >= 1 && packed.size(-1) > kScaleBytes &&
                        packed.device().is_cpu(),
                    "unpack_int8: packed rows must be int8 [..., D + 4] on the CPU, got ", packed.scalar_type(), " ",
                    packed.sizes());
}

template <typename index_t>
bool gather(const int8_t* packed, const index_t* index, const FieldRows& fields, int64_t batch, int64_t width,
            float* out) {
  const auto count = fields.size();
  std::atomic<bool> fine{true};
  at::parallel_for(0, batch, std::max<int64_t>(1, kPackedGrain / std::max<int64_t>(1, count)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t b = begin; b < end; ++b) {
                       for (int64_t f = 0; f < count; ++f) {
                         const int64_t at = b * count + f;
                         const int64_t row = fields.offsets[f] + index[at];
                         if (index[at] < 0 || row >= fields.offsets[f + 1]) {
                           fine = false;
                           return;
                         }
                         unpack_row(packed + row * (width + kScaleBytes), width, out + at * width);
                       }
                     }
                   });
  return fine;
}

}  // namespace

torch::Tensor pack_int8(const torch::Tensor& given) {
  TORCH_CHECK_VALUE(given.dim() == 2 && given.size(1) > 0 && given.is_floating_point(),
                    "pack_int8: rows must be floats [V, D], got ", given.scalar_type(), " ", given.sizes());
  const auto rows = given.detach().to(torch::kCPU, torch::kFloat32).contiguous();
  const auto count = rows.size(0), width = rows.size(1);
  auto out = torch::empty({count, width + kScaleBytes}, torch::kInt8);
  const auto* from = rows.const_data_ptr<float>();
  auto* to = out.data_ptr<int8_t>();
  std::atomic<int64_t> odd{-1};
  at::parallel_for(0, count, kPackedGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto* row = from + r * width;
      auto* packed = to + r * (width + kScaleBytes);
      float largest = 0;
      for (int64_t d = 0; d < width; ++d) {
        if (!std::isfinite(row[d])) odd = r;
        largest = std::max(largest, std::abs(row[d]));
      }
      const float scale = largest / 127;
      for (int64_t d = 0; d < width; ++d) {
        const float q = scale > 0 ? std::nearbyint(row[d] / scale) : 0;
        packed[d] = static_cast<int8_t>(std::clamp(q, -127.0f, 127.0f));
      }
      std::memcpy(packed + width, &scale, kScaleBytes);
    }
  });
  TORCH_CHECK_VALUE(odd < 0, "pack_int8: row ", odd.load(), " holds nan or infinity");
  return out;
}

torch::Tensor unpack_int8(const torch::Tensor& given) {
  check_packed(given);
  const auto packed = given.contiguous();
  auto shape = packed.sizes().vec();
  const auto width = shape.back() -= kScaleBytes;
  auto out = torch::empty(shape, torch::kFloat32);
  const auto* from = packed.const_data_ptr<int8_t>();
  auto* to = out.data_ptr<float>();
  at::parallel_for(0, out.numel() / width, kPackedGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) unpack_row(from + r * (width + kScaleBytes), width, to + r * width);
  });
  return out;
}

torch::Tensor unpacked(const torch::Tensor& found) {
  return found.scalar_type() == torch::kInt8 ? unpack_int8(found) : found;
}

torch::Tensor lookup_int8(const torch::Tensor& packed, const torch::Tensor& index, const FieldRows& fields) {
  check_packed(packed);
  TORCH_CHECK_VALUE(packed.is_contiguous() && index.is_contiguous() && index.device().is_cpu(),
                    "lookup: a packed table and its index must be contiguous and on the CPU");
  const auto batch = index.size(0), width = packed.size(1) - kScaleBytes;
  auto out = torch::empty({batch, fields.size(), width}, torch::kFloat32);
  const auto* rows = packed.const_data_ptr<int8_t>();
  const bool fine = index.scalar_type() == torch::kInt32
                        ? gather(rows, index.const_data_ptr<int32_t>(), fields, batch, width, out.data_ptr<float>())
                        : gather(rows, index.const_data_ptr<int64_t>(), fields, batch, width, out.data_ptr<float>());
  return fine ? out : torch::Tensor();
}

}  // namespace polyscene::nn
