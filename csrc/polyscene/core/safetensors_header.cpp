#include "polyscene/core/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

namespace polyscene {
namespace {

using nlohmann::json;

constexpr uint64_t kHeaderLimit = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";

[[noreturn]] void refuse(const std::string& file, const std::string& what) {
  throw std::invalid_argument(file + ": " + what);
}

std::string shown(const std::string& name) {
  return "'" + (name.size() > 100 ? name.substr(0, 100) + "..." : name) + "'";
}

json parse_header_text(const char* begin, const char* end, const std::string& file) {
  std::set<std::string> names;
  // Depth 1 holds the names of the tensors; a valid header ends at depth 3 (shapes).
  const auto look = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > 8) refuse(file, "not a safetensors file: its header is nested too deeply");
    if (event == json::parse_event_t::key && depth == 1 && !names.insert(parsed.get_ref<const std::string&>()).second) {
      refuse(file, "tensor " + shown(parsed.get_ref<const std::string&>()) + " is in the header twice");
    }
    return true;
  };
  try {
    return json::parse(begin, end, look);
  } catch (const json::exception&) {
    refuse(file, "not a safetensors file: its header is not valid JSON");
  }
}

uint64_t whole_number(const json& value, const std::string& file, const std::string& what) {
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!value.is_number_unsigned() || value.get<uint64_t>() > kLargest) {
    refuse(file, what + " must be whole numbers from 0 to 2^63 - 1");
  }
  return value.get<uint64_t>();
}

SafetensorsEntry read_entry(const json& value, const std::string& file, const std::string& what) {
  const bool complete = value.is_object() && value.contains("dtype") && value["dtype"].is_string() &&
                        value.contains("shape") && value["shape"].is_array() && value.contains("data_offsets") &&
                        value["data_offsets"].is_array() && value["data_offsets"].size() == 2;
  if (!complete) refuse(file, what + ": wants dtype (text), shape (list) and data_offsets (two numbers)");
  SafetensorsEntry entry;
  entry.dtype = value["dtype"].get<std::string>();
  const auto item = safetensors_item_size(entry.dtype);
  if (item == 0) {
    refuse(file,
           what + ": dtype " + shown(entry.dtype) + " is not one of F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL");
  }
  uint64_t elements = 1;
  uint64_t strides = item;  // empty sides count as 1 here, so that torch can compute strides as well
  bool fits = true;
  for (const auto& side : value["shape"]) {
    const auto length = whole_number(side, file, what + ": sides of the shape");
    entry.shape.push_back(static_cast<int64_t>(length));
    elements *= length;
    fits = fits && !__builtin_mul_overflow(strides, std::max<uint64_t>(length, 1), &strides);
  }
  fits = fits && strides <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!fits) refuse(file, what + ": its shape has more bytes than can be counted");
  entry.begin = whole_number(value["data_offsets"][0], file, what + ": data_offsets");
  entry.end = whole_number(value["data_offsets"][1], file, what + ": data_offsets");
  if (entry.end < entry.begin || entry.end - entry.begin != elements * item) {
    refuse(file, what + ": its shape takes " + std::to_string(elements * item) + " bytes, data_offsets say " +
                     std::to_string(entry.begin) + " to " + std::to_string(entry.end));
  }
  return entry;
}

void check_coverage(const SafetensorsHeader& header, uint64_t data_size, const std::string& file) {
  std::vector<std::pair<const SafetensorsEntry*, const std::string*>> order;
  for (const auto& [name, entry] : header.tensors) order.emplace_back(&entry, &name);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
  });
  uint64_t expected = 0;
  for (const auto& [entry, name] : order) {
    if (entry->end > data_size) {
      refuse(file, "tensor " + shown(*name) + " ends at byte " + std::to_string(entry->end) +
                       " of the data, the file has " + std::to_string(data_size) + ": it was cut off");
    }
    if (entry->begin != expected) {
      refuse(file, "tensor " + shown(*name) + " starts at byte " + std::to_string(entry->begin) +
                       " of the data, expected " + std::to_string(expected) +
                       ": tensors must neither overlap nor leave gaps");
    }
    expected = entry->end;
  }
  if (expected != data_size) {
    refuse(file,
           "has " + std::to_string(data_size) + " bytes of data, its header describes " + std::to_string(expected));
  }
}

}  // namespace

size_t safetensors_item_size(const std::string& dtype) {
  static const std::map<std::string, size_t> kSizes = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},
                                                       {"I32", 4}, {"I16", 2}, {"I8", 1},  {"U8", 1},   {"BOOL", 1}};
  const auto found = kSizes.find(dtype);
  return found == kSizes.end() ? 0 : found->second;
}

SafetensorsHeader parse_safetensors_header(const uint8_t* bytes, size_t size, const std::string& file) {
  if (size < 8)
    refuse(file, "not a safetensors file: it has " + std::to_string(size) + " bytes, at least 8 are needed");
  uint64_t length = 0;
  for (int i = 0; i < 8; ++i) length |= uint64_t{bytes[i]} << (8 * i);
  if (length > kHeaderLimit) {
    refuse(file,
           "not a safetensors file: its header would take " + std::to_string(length) + " bytes, the limit is 100 MB");
  }
  if (length > size - 8) {
    refuse(file, "header takes " + std::to_string(length) + " bytes, the file has " + std::to_string(size - 8) +
                     " after the length: it was cut off");
  }
  const auto* text = reinterpret_cast<const char*>(bytes + 8);
  const auto parsed = parse_header_text(text, text + length, file);
  if (!parsed.is_object()) refuse(file, "not a safetensors file: its header is not a JSON object");
  SafetensorsHeader header;
  header.data_start = 8 + length;
  for (const auto& [name, value] : parsed.items()) {
    if (name != kMetadataKey) {
      header.tensors.emplace(name, read_entry(value, file, "tensor " + shown(name)));
      continue;
    }
    if (!value.is_object()) refuse(file, "__metadata__ must be an object of texts");
    for (const auto& [key, text_value] : value.items()) {
      if (!text_value.is_string()) refuse(file, "__metadata__ " + shown(key) + " must be text");
      header.metadata.emplace(key, text_value.get<std::string>());
    }
  }
  check_coverage(header, size - header.data_start, file);
  return header;
}

std::string format_safetensors_header(const SafetensorsHeader& header, const std::string& file) {
  auto text = json::object();
  if (!header.metadata.empty()) text[kMetadataKey] = header.metadata;
  for (const auto& [name, entry] : header.tensors) {
    if (name == kMetadataKey) refuse(file, "a tensor cannot be named '__metadata__'");
    text[name] = {{"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string body;
  try {
    body = text.dump();
  } catch (const json::exception&) {
    refuse(file, "names and metadata must be UTF-8");
  }
  body.resize((body.size() + 8 + 63) / 64 * 64 - 8, ' ');
  if (body.size() > kHeaderLimit) {
    refuse(file,
           "header takes " + std::to_string(body.size()) + " bytes, the limit is 100 MB; put long texts in tensors");
  }
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i) out[i] = static_cast<char>(body.size() >> (8 * i));
  return out + body;
}

}  // namespace polyscene
