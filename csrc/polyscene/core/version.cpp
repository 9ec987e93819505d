#include "polyscene/core/version.h"

#include "polyscene/version.h"

namespace polyscene::core {

const char* version() { return POLYSCENE_VERSION; }

const char* torch_version() { return POLYSCENE_TORCH_VERSION; }

}  // namespace polyscene::core
