#include <torch/extension.h>

#include <pybind11/functional.h>
#include <pybind11/stl.h>
