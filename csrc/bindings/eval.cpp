#include "bindings/bindings.h"

namespace polyscene::bindings {

void bind_eval(py::module_& m) {}

}  // namespace polyscene::bindings
