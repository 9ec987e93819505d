#include <torch/extension.h>

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "polyscene/core/errors.h"
#include "polyscene/core/random.h"
#include "polyscene/core/version.h"

namespace polyscene::bindings {

void bind_core(py::module_& parent) {
  parent.def("version", &core::version, "Version of polyscene.");
  parent.def("torch_version", &core::torch_version, "Version of torch that this build was made against.");
  auto m = parent.def_submodule("core", "Errors, options and random streams.");
  m.def(
      "permutation",
      [](int64_t n, uint64_t seed, const std::string& name, uint64_t index) {
        TORCH_CHECK_VALUE(n >= 0, "permutation: n must not be negative, got ", n);
        return torch::tensor(permutation(n, RandomStream(seed, name, index)), torch::kInt64);
      },
      py::arg("n"), py::arg("seed"), py::arg("name"), py::arg("index") = 0,
      "A uniform permutation of 0..n-1, int64 [n]: number `index` of the stream (seed, name).");
  m.def(
      "uniform",
      [](int64_t n, uint64_t seed, const std::string& name, uint64_t index) {
        const RandomStream stream(seed, name, index);
        auto out = torch::empty({n}, torch::kFloat64);
        auto* values = out.data_ptr<double>();
        for (int64_t i = 0; i < n; ++i) values[i] = stream.uniform(i);
        return out;
      },
      py::arg("n"), py::arg("seed"), py::arg("name"), py::arg("index") = 0,
      "Uniform numbers in [0, 1), float64 [n]: number `index` of the stream (seed, name).");
  m.def("nearest", &nearest, py::arg("name"), py::arg("known"), "The known name nearest to `name`, '' when none is near.");
  m.def("suggestion", &suggestion, py::arg("name"), py::arg("known"), "'; did you mean ...?' for a near name, else ''.");
}

}  // namespace polyscene::bindings
