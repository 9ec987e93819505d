#include "polyscene/core/options_json.h"

#include "polyscene/core/errors.h"
#include "polyscene/core/json.h"

namespace polyscene {

OptionMap options_from_json(std::string_view text, const std::string& file, const std::string& path) {
  return option_map(parse_json(text, file), path);
}

std::string options_to_json(const OptionMap& values) {
  try {
    return to_json(values).dump();
  } catch (const Json::exception&) {
    TORCH_CHECK_VALUE(false, "texts of options must be UTF-8");
  }
}

}  // namespace polyscene
