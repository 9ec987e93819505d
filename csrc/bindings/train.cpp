#include "bindings/bindings.h"

namespace polyscene::bindings {

void bind_train(py::module_& m) {}

}  // namespace polyscene::bindings
