#include "polyscene/core/version.h"

#include "bindings/bindings.h"

namespace polyscene::bindings {

void bind_core(py::module_& m) {
  m.def("version", &core::version, "Returns the version of the loaded library.");
  m.def("torch_version", &core::torch_version, "Returns the version of torch that the library was compiled against.");
}

}  // namespace polyscene::bindings
