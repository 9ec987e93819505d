#include "polyscene/core/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "polyscene/core/errors.h"
#include "polyscene/core/files.h"

namespace polyscene {
namespace {

constexpr int kDeepest = 100;

// "line 3, column 7" of byte `position` (from 1, as the parser counts); columns count characters, not bytes.
std::string place_in_text(std::string_view text, size_t position) {
  const auto before = text.substr(0, position > 0 ? position - 1 : 0);
  const auto line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const auto column = 1 + std::count_if(before.begin() + static_cast<std::ptrdiff_t>(line_start), before.end(),
                                        [](char c) { return (c & 0xc0) != 0x80; });
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

// "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while ..." -> what follows the place.
std::string parser_message(const nlohmann::json::parse_error& error) {
  const std::string text = error.what();
  const auto place = text.find("parse error at ");
  const auto colon = text.find(": ", place == std::string::npos ? 0 : place);
  return colon == std::string::npos ? text : text.substr(colon + 2);
}

// Names seen so far in each open object, to refuse what the parser would silently overwrite.
class RepeatedNames {
 public:
  explicit RepeatedNames(const std::string& file) : file_(file) {}

  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    TORCH_CHECK_VALUE(depth <= kDeepest, file_, ": nested deeper than ", kDeepest, " levels");
    if (event == Event::object_start || event == Event::array_start) {
      levels_.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      levels_.pop_back();
    } else if (event == Event::key) {
      auto& level = levels_.back();
      level.current = parsed.get<std::string>();
      TORCH_CHECK_VALUE(level.seen.insert(level.current).second, file_, ": '", path(), "' is given twice");
    }
    return true;
  }

 private:
  struct Level {
    std::set<std::string> seen;
    std::string current;
  };

  std::string path() const {
    std::string out;
    for (const auto& level : levels_) {
      if (!level.current.empty()) out = json_path(out, level.current);
    }
    return out;
  }

  const std::string& file_;
  std::vector<Level> levels_;
};

int64_t integer_value(const Json& value, const std::string& path) {
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  TORCH_CHECK_VALUE(!value.is_number_unsigned() || value.get<uint64_t>() <= kLargest, path, ": ", value.dump(),
                    " is too large for a 64-bit integer");
  return value.get<int64_t>();
}

OptionValue list_value(const Json& list, const std::string& path) {
  const auto all = [&](auto is) { return std::all_of(list.begin(), list.end(), is); };
  if (all([](const Json& v) { return v.is_number_integer(); })) {
    std::vector<int64_t> out;
    for (const auto& item : list) out.push_back(integer_value(item, path));
    return out;
  }
  if (all([](const Json& v) { return v.is_number(); })) return list.get<std::vector<double>>();
  if (all([](const Json& v) { return v.is_string(); })) return list.get<std::vector<std::string>>();
  const auto odd =
      std::find_if(list.begin(), list.end(), [](const Json& v) { return !v.is_number() && !v.is_string(); });
  TORCH_CHECK_VALUE(odd == list.end(), path, ": a list must hold numbers or texts, got ", json_kind(*odd));
  TORCH_CHECK_VALUE(false, path, ": a list must hold either numbers or texts, got both");
}

}  // namespace

std::string json_path(const std::string& parent, const std::string& name) {
  return parent.empty() ? name : parent + "." + name;
}

std::string json_kind(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "true or false";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "int";
    case Json::value_t::number_float:
      return "float";
    case Json::value_t::string:
      return "text";
    case Json::value_t::array:
      return "list";
    default:
      return "object";
  }
}

Json parse_json(std::string_view text, const std::string& file) {
  try {
    RepeatedNames check(file);
    return Json::parse(text.begin(), text.end(), std::ref(check), /*allow_exceptions=*/true, /*ignore_comments=*/true);
  } catch (const Json::parse_error& error) {
    TORCH_CHECK_VALUE(false, file, ": ", place_in_text(text, error.byte), ": ", parser_message(error));
  } catch (const Json::exception& error) {
    TORCH_CHECK_VALUE(false, file, ": ", error.what());
  }
}

Json read_json(const std::string& path) { return parse_json(read_file(path), path); }

OptionValue option_value(const Json& value, const std::string& path) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return integer_value(value, path);
  if (value.is_number_float()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) return list_value(value, path);
  TORCH_CHECK_VALUE(!value.is_null(), path, ": null is no value; leave the name out to get the default");
  TORCH_CHECK_VALUE(false, path, ": must be a number, text, true, false or a list of them, got an ", json_kind(value));
}

OptionMap option_map(const Json& object, const std::string& path) {
  TORCH_CHECK_VALUE(object.is_object(), path.empty() ? "the top level" : path, ": must be an object, got ",
                    json_kind(object));
  OptionMap out;
  for (const auto& [name, value] : object.items()) out.emplace_back(name, option_value(value, json_path(path, name)));
  return out;
}

Json to_json(const OptionValue& value) {
  const auto finite = [](double number) { return std::isfinite(number); };
  const auto* number = std::get_if<double>(&value);
  const auto* numbers = std::get_if<std::vector<double>>(&value);
  const bool fits = (!number || finite(*number)) && (!numbers || std::all_of(numbers->begin(), numbers->end(), finite));
  TORCH_CHECK_VALUE(fits, "JSON holds finite numbers only, got ", to_text(value));
  return std::visit([](const auto& held) { return Json(held); }, value);
}

Json to_json(const OptionMap& values) {
  auto out = Json::object();
  for (const auto& [name, value] : values) {
    try {
      out[name] = to_json(value);
    } catch (const c10::ValueError& error) {
      TORCH_CHECK_VALUE(false, name, ": ", error.what_without_backtrace());
    }
  }
  return out;
}

}  // namespace polyscene
