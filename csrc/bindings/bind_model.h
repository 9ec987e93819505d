#pragma once

#include <torch/extension.h>

#include <pybind11/stl.h>

#include "polyscene/core/named_tensors.h"

namespace polyscene::bindings {

namespace py = pybind11;

/// What `polyscene._module.Module` asks of a bound C++ module, model or block: its tensors, themselves and not copies,
/// the modules inside it, and their modes. `cls` is a `py::class_` over a `torch::nn::Module`.
template <typename Class>
void bind_module_protocol(Class& cls) {
  // Not torch::nn::Module: torch registers that type, and our classes do not name it as their base.
  using Self = typename Class::type;
  cls.def(
         "tensors",
         [](const Self& self) {
           py::list out;
           for (const auto& item : named_tensors(self))
             out.append(py::make_tuple(item.name, item.tensor, item.is_buffer));
           return out;
         },
         "Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.")
      .def(
          "aliases", [](const Self& self) { return tied_tensors(self); },
          "The other names of shared tensors: (alias, name in `tensors`).")
      .def(
          "children",
          [](const Self& self) {
            py::list out;
            for (const auto& child : named_children(self))
              out.append(py::make_tuple(child.path, child.type, child.training));
            return out;
          },
          "The modules inside as (dotted path, type, training), parents first.")
      .def("set_training", torch::wrap_pybind_function([](Self& self, const std::string& path, bool on) {
             set_training(self, path, on);
           }),
           py::arg("path"), py::arg("on"),
           "Sets the mode of the module at `path`, '' for this one, and of no module inside it.")
      .def_property_readonly("training", [](const Self& self) { return self.is_training(); });
}

}  // namespace polyscene::bindings
