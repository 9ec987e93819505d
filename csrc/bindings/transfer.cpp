#include "bindings/bindings.h"

namespace polyscene::bindings {

void bind_transfer(py::module_& m) {}

}  // namespace polyscene::bindings
