#pragma once

#include <torch/extension.h>

#include <string>

#include "polyscene/core/options.h"

namespace polyscene::bindings {

namespace py = pybind11;

/// A Python bool, int, float, str or list of one of the last three as an option.
/// Throws TypeError that opens with `what` ("mmoe: option 'experts'") for anything else; None is told to be left out.
OptionValue to_option(const std::string& what, const py::handle& value);

/// The keyword arguments `values` of `owner` as options.
OptionMap to_options(const std::string& owner, const py::dict& values);

py::object to_python(const OptionValue& value);
py::dict to_python(const OptionMap& options);
/// Each field as (name, type, default, doc).
py::list to_python(const std::vector<OptionField>& fields);

}  // namespace polyscene::bindings
