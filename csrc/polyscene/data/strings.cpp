#include "polyscene/data/strings.h"

#include <cstring>

namespace polyscene::data {

Strings::Strings() : Strings(std::vector<std::string>{}) {}

Strings::Strings(torch::Tensor bytes_, torch::Tensor offsets_)
    : bytes(std::move(bytes_)), offsets(std::move(offsets_)) {
  TORCH_CHECK_VALUE(
      bytes.defined() && bytes.scalar_type() == torch::kUInt8 && bytes.dim() == 1 && bytes.is_contiguous(),
      "Strings: bytes must be a contiguous uint8 vector");
  TORCH_CHECK_VALUE(offsets.defined() && offsets.scalar_type() == torch::kInt64 && offsets.dim() == 1 &&
                        offsets.numel() > 0 && offsets.is_contiguous(),
                    "Strings: offsets must be a contiguous int64 vector of n + 1 entries");
  const auto* at = offsets.data_ptr<int64_t>();
  const auto n = offsets.numel() - 1;
  TORCH_CHECK_VALUE(at[0] == 0 && at[n] == bytes.numel(), "Strings: offsets must run from 0 to ", bytes.numel(),
                    ", got ", at[0], " to ", at[n]);
  for (int64_t i = 0; i < n; ++i) {
    TORCH_CHECK_VALUE(at[i] <= at[i + 1], "Strings: offsets must not fall, entry ", i, " is ", at[i], " and the next ",
                      at[i + 1]);
  }
}

Strings::Strings(const std::vector<std::string>& values) {
  offsets = torch::zeros({static_cast<int64_t>(values.size()) + 1}, torch::kInt64);
  auto* at = offsets.data_ptr<int64_t>();
  for (size_t i = 0; i < values.size(); ++i) at[i + 1] = at[i] + static_cast<int64_t>(values[i].size());
  bytes = torch::empty({at[values.size()]}, torch::kUInt8);
  auto* out = bytes.data_ptr<uint8_t>();
  for (size_t i = 0; i < values.size(); ++i) std::memcpy(out + at[i], values[i].data(), values[i].size());
}

std::string_view Strings::at(int64_t i) const {
  TORCH_CHECK_INDEX(i >= 0 && i < size(), "Strings: position must be in [0, ", size(), "), got ", i);
  const auto* begin = offsets.const_data_ptr<int64_t>() + i;
  const auto* text = reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>());
  return {text + begin[0], static_cast<size_t>(begin[1] - begin[0])};
}

std::vector<std::string> Strings::list() const {
  std::vector<std::string> out;
  out.reserve(size());
  for (int64_t i = 0; i < size(); ++i) out.emplace_back(at(i));
  return out;
}

std::unordered_map<std::string_view, int64_t> Strings::index() const {
  std::unordered_map<std::string_view, int64_t> out;
  out.reserve(size());
  for (int64_t i = 0; i < size(); ++i) out.emplace(at(i), i);
  return out;
}

Ragged Ragged::take(const torch::Tensor& rows) const {
  if (!defined()) return {};
  const auto index = rows.to(torch::kInt64).contiguous();
  const auto source = offsets.contiguous();
  const auto* begin = source.const_data_ptr<int64_t>();
  const auto* at = index.const_data_ptr<int64_t>();
  const auto n = index.numel();
  auto out_offsets = torch::zeros({n + 1}, torch::kInt64);
  auto* out = out_offsets.data_ptr<int64_t>();
  for (int64_t i = 0; i < n; ++i) out[i + 1] = out[i] + begin[at[i] + 1] - begin[at[i]];
  auto positions = torch::empty({out[n]}, torch::kInt64);
  auto* position = positions.data_ptr<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = begin[at[i]]; j < begin[at[i] + 1]; ++j) *position++ = j;
  }
  return {values.index_select(0, positions.to(values.device())), out_offsets};
}

Ragged Ragged::to(torch::Device device) const {
  if (!defined()) return {};
  return {values.to(device), offsets.to(device)};
}

}  // namespace polyscene::data
