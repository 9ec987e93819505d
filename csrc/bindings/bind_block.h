#pragma once

#include <torch/extension.h>

#include <pybind11/stl.h>

#include <memory>
#include <utility>

#include "bindings/bind_model.h"
#include "bindings/options.h"
#include "polyscene/nn/attention.h"

namespace polyscene::bindings {

/// Binds a block: a constructor that takes its sizes, each a `Size` named by `sizes`, and its options as a dictionary;
/// the protocol of the mirror; `options` and, on the class, `option_fields()`. The caller adds the forward.
template <typename Impl, typename Size = int64_t, typename... Names>
auto bind_block(py::module_& m, const char* name, const char* doc, const Names&... sizes) {
  using Options = std::decay_t<decltype(std::declval<Impl>().options)>;
  const auto make = [name](std::conditional_t<true, Size, Names>... values, const py::dict& options) {
    return std::make_shared<Impl>(std::move(values)..., options_from<Options>(name, to_options(name, options)));
  };
  py::class_<Impl, std::shared_ptr<Impl>> cls(m, name, doc);
  cls.def(py::init(torch::wrap_pybind_function(make)), sizes..., py::arg("options") = py::dict())
      .def_property_readonly("options", [](const Impl& self) { return to_python(to_map(self.options)); })
      .def_static(
          "option_fields", [] { return to_python(option_fields<Options>()); }, "(name, type, default, doc) of each.");
  bind_module_protocol(cls);
  return cls;
}

/// An `attend` that returns (output, weights).
template <typename Impl, typename... Args>
auto as_pair(nn::Attended (Impl::*method)(Args...)) {
  return torch::wrap_pybind_function_no_gil([method](Impl& self, Args... args) {
    const auto out = (self.*method)(args...);
    return std::make_pair(out.output, out.weights);
  });
}

}  // namespace polyscene::bindings
