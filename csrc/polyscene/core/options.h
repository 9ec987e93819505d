#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "polyscene/core/errors.h"

namespace polyscene {

/// The value of one option, whichever way it came in (JSON, Python keyword, C++).
using OptionValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                                 std::vector<std::string>>;

/// Options by name, in the order of the field list.
using OptionMap = std::vector<std::pair<std::string, OptionValue>>;

/// What `--help`, stubs and the documentation say of one option.
struct OptionField {
  std::string name;
  std::string type;   ///< "int", "float", "bool", "str", "list of int", "list of float", "list of str"
  OptionValue value;  ///< the default
  std::string doc;
};

/// Text of a value as Python and JSON readers know it: 4, 0.1, true, "x", [1, 2].
std::string to_text(const OptionValue& value);

/// Human name of the type that `value` holds.
std::string type_name(const OptionValue& value);

/// Converts `given` to the type of `slot`; integers become floats, integral floats become integers, [] fits every list.
/// `what` opens the error message ("MMoE: option 'experts'").
/// Throws ValueError when the types differ: "MMoE: option 'experts' must be int, got 'four' (str)".
void assign_option(OptionValue& slot, const OptionValue& given, const std::string& what);

namespace detail {

template <typename T>
void assign_field(T& field, const OptionValue& given, const std::string& what) {
  OptionValue slot = field;
  assign_option(slot, given, what);
  field = std::get<T>(slot);
}

}  // namespace detail

/// Lists the fields of an options struct with their defaults; the struct has `fields(self, visit)` with
/// `visit(name, reference, doc)` for each of its fields.
template <typename Options>
std::vector<OptionField> option_fields(const Options& options = {}) {
  std::vector<OptionField> out;
  Options::fields(options, [&](const char* name, const auto& value, const char* doc) {
    OptionValue held = value;
    out.push_back({name, type_name(held), held, doc});
  });
  return out;
}

/// All options by name, defaults filled in.
template <typename Options>
OptionMap to_map(const Options& options) {
  OptionMap out;
  Options::fields(options, [&](const char* name, const auto& value, const char*) { out.emplace_back(name, value); });
  return out;
}

/// Sets the options named in `values` on a default-constructed struct.
/// Throws ValueError for an unknown name ("MMoE: unknown option 'expert'; known options: experts, ...") or a wrong
/// type.
template <typename Options>
Options options_from(const std::string& owner, const OptionMap& values, Options options = {}) {
  std::vector<std::string> known;
  Options::fields(options, [&](const char* name, auto&, const char*) { known.emplace_back(name); });
  for (const auto& entry : values) {
    bool found = false;
    Options::fields(options, [&](const char* name, auto& field, const char*) {
      if (entry.first != name) return;
      found = true;
      detail::assign_field(field, entry.second, owner + ": option '" + entry.first + "'");
    });
    TORCH_CHECK_VALUE(found, owner, ": unknown option '", entry.first, "'; known options: ", join(known),
                      suggestion(entry.first, known));
  }
  return options;
}

}  // namespace polyscene
