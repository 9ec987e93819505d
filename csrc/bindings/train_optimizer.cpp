#include <torch/extension.h>

#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "bindings/options.h"
#include "polyscene/train/optimizer.h"

namespace polyscene::bindings {

using polyscene::train::NamedTensors;
using polyscene::train::Optimizer;
using polyscene::train::OptimizerOptions;
using torch::wrap_pybind_function;
using torch::wrap_pybind_function_no_gil;

void bind_optimizer(py::module_& m) {
  const auto make = [](const py::dict& options, const NamedTensors& dense, const NamedTensors& tables) {
    return std::make_unique<Optimizer>(options_from<OptimizerOptions>("Optimizer", to_options("Optimizer", options)),
                                       dense, tables);
  };
  py::class_<Optimizer>(m, "Optimizer",
                        "Optimiser over dense parameters and lookup tables, both given as (name, tensor).")
      .def(py::init(wrap_pybind_function(make)), py::arg("options"), py::arg("dense"),
           py::arg("tables") = NamedTensors())
      .def("step", wrap_pybind_function_no_gil(&Optimizer::step), "Moves every parameter that has a gradient.")
      .def("zero_grad", wrap_pybind_function_no_gil(&Optimizer::zero_grad), "Drops all gradients.")
      .def("set_phase", wrap_pybind_function(&Optimizer::set_phase), py::arg("frozen"), py::arg("lr_scale") = 1.0)
      .def("set_lr_scale", wrap_pybind_function(&Optimizer::set_lr_scale), py::arg("prefix"), py::arg("scale"))
      .def("set_total_steps", &Optimizer::set_total_steps, py::arg("steps"))
      .def("state", &Optimizer::state, "State tensors by name, shared with the optimiser.")
      .def("load", wrap_pybind_function_no_gil(&Optimizer::load), py::arg("state"))
      .def_property_readonly("lazy", &Optimizer::lazy)
      .def_property_readonly("lr", &Optimizer::lr)
      .def_property_readonly("steps", &Optimizer::steps)
      .def_property_readonly("gradient_norm", &Optimizer::gradient_norm);
}

}  // namespace polyscene::bindings
