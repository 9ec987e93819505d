#include "polyscene/core/options.h"

#include <cmath>
#include <cstdio>
#include <limits>

namespace polyscene {
namespace {

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char text[32];
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof(text), "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value) break;
  }
  return text;
}

template <typename T>
std::string item_text(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return std::to_string(value);
  } else if constexpr (std::is_same_v<T, double>) {
    return number_text(value);
  } else {
    return "'" + value + "'";
  }
}

// Integral floats such as 1e3 are what JSON writers give for whole numbers.
bool as_integer(double value, int64_t& out) {
  if (std::nearbyint(value) != value || std::abs(value) > 9007199254740992.0) return false;
  out = static_cast<int64_t>(value);
  return true;
}

bool convert(OptionValue& slot, const OptionValue& given) {
  if (slot.index() == given.index()) {
    slot = given;
    return true;
  }
  const auto* integer = std::get_if<int64_t>(&given);
  const auto* real = std::get_if<double>(&given);
  if (std::holds_alternative<double>(slot) && integer) {
    slot = static_cast<double>(*integer);
    return true;
  }
  if (int64_t whole = 0; std::holds_alternative<int64_t>(slot) && real && as_integer(*real, whole)) {
    slot = whole;
    return true;
  }
  const bool empty_list = std::visit(
      [](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::vector<int64_t>> || std::is_same_v<T, std::vector<double>> ||
                      std::is_same_v<T, std::vector<std::string>>) {
          return value.empty();
        } else {
          return false;
        }
      },
      given);
  if (auto* integers = std::get_if<std::vector<int64_t>>(&slot)) {
    if (const auto* reals = std::get_if<std::vector<double>>(&given)) {
      std::vector<int64_t> whole(reals->size());
      for (size_t i = 0; i < reals->size(); ++i) {
        if (!as_integer((*reals)[i], whole[i])) return false;
      }
      *integers = whole;
      return true;
    }
    if (empty_list) {
      integers->clear();
      return true;
    }
  }
  if (auto* reals = std::get_if<std::vector<double>>(&slot)) {
    if (const auto* list = std::get_if<std::vector<int64_t>>(&given)) {
      reals->assign(list->begin(), list->end());
      return true;
    }
    if (empty_list) {
      reals->clear();
      return true;
    }
  }
  if (auto* texts = std::get_if<std::vector<std::string>>(&slot); texts && empty_list) {
    texts->clear();
    return true;
  }
  return false;
}

}  // namespace

std::string to_text(const OptionValue& value) {
  return std::visit(
      [](const auto& held) -> std::string {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, std::vector<int64_t>> || std::is_same_v<T, std::vector<double>> ||
                      std::is_same_v<T, std::vector<std::string>>) {
          std::vector<std::string> parts;
          for (const auto& item : held) parts.push_back(item_text(item));
          return "[" + join(parts) + "]";
        } else {
          return item_text(held);
        }
      },
      value);
}

std::string type_name(const OptionValue& value) {
  static const char* const kNames[] = {"bool", "int", "float", "str", "list of int", "list of float", "list of str"};
  return kNames[value.index()];
}

void assign_option(OptionValue& slot, const OptionValue& given, const std::string& what) {
  const auto wanted = type_name(slot);
  TORCH_CHECK_VALUE(convert(slot, given), what, " must be ", wanted, ", got ", to_text(given), " (", type_name(given),
                    ")");
}

}  // namespace polyscene
