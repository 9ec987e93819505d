#include "polyscene/core/version.h"

#include "catch.h"
#include "polyscene/version.h"

TEST_CASE("version: the loaded library is the one of the headers") {
  CHECK(std::string(polyscene::core::version()) == POLYSCENE_VERSION);
  CHECK(std::string(polyscene::core::torch_version()) == POLYSCENE_TORCH_VERSION);
}

TEST_CASE("version: torch in use is the release compiled against") {
  CHECK_THAT(POLYSCENE_TORCH_VERSION, StartsWith(TORCH_VERSION));
}
