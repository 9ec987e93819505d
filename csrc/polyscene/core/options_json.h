#pragma once

#include <string>
#include <string_view>

#include "polyscene/core/options.h"

namespace polyscene {

/// The members of a JSON object, which may hold comments; `file` and `path` ("model", "" for the top) open messages.
/// Throws ValueError "FILE: line 3, column 7: ..." for text that is not JSON, "FILE: 'experts' is given twice", and
/// "model.experts: ..." for values that no option can have (null, objects, mixed or nested lists).
OptionMap options_from_json(std::string_view text, const std::string& file = "JSON", const std::string& path = "");

/// JSON text of options, in their order, on one line. Throws ValueError for NaN and infinities, which JSON cannot hold.
std::string options_to_json(const OptionMap& values);

}  // namespace polyscene
