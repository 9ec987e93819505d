#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <torch/torch.h>

int main(int argc, char** argv) {
  torch::manual_seed(2022);
  torch::set_num_threads(2);
  return Catch::Session().run(argc, argv);
}
