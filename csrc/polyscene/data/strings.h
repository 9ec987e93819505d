#pragma once

#include <torch/torch.h>

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace polyscene::data {

/// Many short strings in two tensors, as they lie in a memory-mapped file.
struct Strings {
  torch::Tensor bytes;    ///< uint8 [total bytes], UTF-8, one string after the other
  torch::Tensor offsets;  ///< int64 [n + 1], string i is bytes[offsets[i]:offsets[i + 1]]

  Strings();
  Strings(torch::Tensor bytes, torch::Tensor offsets);
  explicit Strings(const std::vector<std::string>& values);

  int64_t size() const { return offsets.numel() - 1; }
  std::string_view at(int64_t i) const;
  std::vector<std::string> list() const;
  /// Position of each string; the views point into `bytes`, which must outlive the map.
  std::unordered_map<std::string_view, int64_t> index() const;
};

/// Lists of different length: list i is values[offsets[i]:offsets[i + 1]].
struct Ragged {
  torch::Tensor values;   ///< [total]
  torch::Tensor offsets;  ///< int64 [n + 1]

  bool defined() const { return offsets.defined(); }
  int64_t size() const { return offsets.defined() ? offsets.numel() - 1 : 0; }
  /// Lists `rows` in their order.
  Ragged take(const torch::Tensor& rows) const;
  Ragged to(torch::Device device) const;
};

}  // namespace polyscene::data
