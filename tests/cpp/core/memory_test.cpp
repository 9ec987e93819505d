#include "polyscene/core/memory.h"

#include <torch/torch.h>

#include "catch.h"

using namespace polyscene;

TEST_CASE("use_large_pages: what lies there stays as it is") {
  const auto x = torch::arange(int64_t{5} << 20, torch::kInt32);  // 20 MiB
  const auto before = x.clone();
  use_large_pages(x.const_data_ptr(), x.nbytes());
  use_large_pages_on_heap(/*now=*/GENERATE(false, true));
  CHECK(torch::equal(x, before));
  x.add_(1);
  CHECK(torch::equal(x, before + 1));
}

TEST_CASE("use_large_pages: nothing and too little are left alone") {
  use_large_pages(nullptr, 0);
  const auto x = torch::ones({100});
  use_large_pages(x.const_data_ptr(), x.nbytes());
  CHECK(x.sum().item<float>() == 100);
}
