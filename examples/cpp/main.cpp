#include <iostream>

#include "polyscene/core/version.h"

int main() {
  std::cout << "polyscene " << polyscene::core::version() << " on torch " << polyscene::core::torch_version() << "\n";
}
