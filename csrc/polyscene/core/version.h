#pragma once

namespace polyscene::core {

/// Returns the version of the loaded library, "major.minor.patch".
const char* version();

/// Returns the version of torch that the library was compiled against, such as "2.13.0+cpu".
const char* torch_version();

}  // namespace polyscene::core
