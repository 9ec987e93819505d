#include "bindings/bindings.h"

namespace polyscene::bindings {

void bind_data(py::module_& m) {}

}  // namespace polyscene::bindings
