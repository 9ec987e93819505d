#pragma once

// Private: not installed, included by sources only, so that users of the library need no JSON headers.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "polyscene/core/options.h"

namespace polyscene {

/// Objects keep the order in which they were written.
using Json = nlohmann::ordered_json;

/// Parses JSON that may hold // and /* */ comments. Throws ValueError "FILE: line 3, column 7: ..." for text that is
/// not JSON, "FILE: 'model.experts' is given twice" for a repeated name, and for more than 100 levels of nesting.
Json parse_json(std::string_view text, const std::string& file);

/// Parses a file. Throws ValueError as `parse_json`, or when the file cannot be read.
Json read_json(const std::string& path);

/// "int", "float", "text", "true or false", "list", "object" or "null": what `value` is, for messages.
std::string json_kind(const Json& value);

/// A number, text, truth value, or a list of one kind of them (integers among floats become floats).
/// Throws ValueError that names `path` ("model.experts") for null, objects, mixed or nested lists.
OptionValue option_value(const Json& value, const std::string& path);

/// The members of an object; `path` is its own place ("model", "" for the top).
OptionMap option_map(const Json& object, const std::string& path);

/// Throws ValueError for NaN and infinities, which JSON cannot hold.
Json to_json(const OptionValue& value);
Json to_json(const OptionMap& values);

/// What the JSON library says, without its own name and number: "key 'epoch' not found".
std::string json_reason(const Json::exception& error);

/// "model" and "experts" -> "model.experts"; "" and "model" -> "model".
std::string json_path(const std::string& parent, const std::string& name);

}  // namespace polyscene
