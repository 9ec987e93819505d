#pragma once

#include <c10/util/Exception.h>

#include <string>
#include <string_view>
#include <vector>

namespace polyscene {

/// Joins `parts` with `separator`: {"a", "b"} -> "a, b".
std::string join(const std::vector<std::string>& parts, std::string_view separator = ", ");

/// The member of `known` with the smallest edit distance to `name`, or "" when none is near (more than a third of its
/// letters differ).
std::string nearest(std::string_view name, const std::vector<std::string>& known);

/// "; did you mean 'x'?" for a near name, else "". To be appended to messages about unknown names.
std::string suggestion(std::string_view name, const std::vector<std::string>& known);

}  // namespace polyscene
