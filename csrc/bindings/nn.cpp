#include "bindings/bindings.h"

namespace polyscene::bindings {

void bind_nn(py::module_& m) {}

}  // namespace polyscene::bindings
