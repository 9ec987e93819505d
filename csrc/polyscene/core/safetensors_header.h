#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

// Free of torch, so that a fuzzer can link it alone.
namespace polyscene {

/// Where one tensor lies in a safetensors file.
struct SafetensorsEntry {
  std::string dtype;  ///< "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8" or "BOOL"
  std::vector<int64_t> shape;
  uint64_t begin = 0;  ///< first byte, counted from the start of the data
  uint64_t end = 0;    ///< one past the last byte
};

/// Header of a safetensors file: 8 bytes with its length N (lowest first), N bytes of JSON, then the data.
struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
  uint64_t data_start = 0;  ///< 8 + N
};

/// Bytes that one element takes; 0 for a type that is not read here.
size_t safetensors_item_size(const std::string& dtype);

/// Reads and checks the header of a file of `size` bytes that starts at `bytes` (`file` is its name in messages).
/// Throws std::invalid_argument ("FILE: tensor 'w': ...") when the header is longer than 100 MB, is not JSON, names a
/// tensor twice, or when types, shapes and offsets do not cover the data exactly, without gaps or overlaps.
SafetensorsHeader parse_safetensors_header(const uint8_t* bytes, size_t size, const std::string& file);

/// Length and JSON, padded with spaces so that the data starts at a multiple of 64 bytes.
/// Throws std::invalid_argument for text that is not UTF-8, the name "__metadata__", or a header above 100 MB.
std::string format_safetensors_header(const SafetensorsHeader& header, const std::string& file);

}  // namespace polyscene
