#include "bindings/bindings.h"

namespace polyscene::bindings {

void bind_models(py::module_& m) {}

}  // namespace polyscene::bindings
