#pragma once

#include <torch/extension.h>

namespace polyscene::bindings {

namespace py = pybind11;

void bind_core(py::module_& m);
void bind_data(py::module_& m);
void bind_table(py::module_& m);
void bind_simulator(py::module_& m);
void bind_nn(py::module_& m);
void bind_feature_embedding(py::module_& m);
void bind_models(py::module_& m);
void bind_transfer(py::module_& m);
void bind_mechanisms(py::module_& m);
void bind_eval(py::module_& m);
void bind_evaluate(py::module_& m);
void bind_train(py::module_& m);
void bind_optimizer(py::module_& m);

}  // namespace polyscene::bindings
