#include "polyscene/models/scene/hamur.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::HAMUR;
using models::HAMUROptions;

TEST_CASE("HAMUR: one adapter after each of the last layers") {
  HAMUR model(tiny_schema(), HAMUROptions().backbone({8, 6, 4}).adapters(2).adapter(3).rank(2));
  CHECK(model->adapters.size() == 2);
  CHECK(model->adapters[0]->width == 6);
  CHECK(model->adapters[1]->width == 4);
  CHECK(model->forward(tiny_batch()).sizes() == at::IntArrayRef{8});
}

TEST_CASE("HyperAdapter: the same as with the generated matrices") {
  torch::manual_seed(1);
  nn::HyperAdapter adapter(5, 3, 2, /*scenes=*/2);
  adapter->eval();
  {
    torch::NoGradGuard no_grad;
    adapter->running_mean.normal_();
    adapter->running_var.uniform_(0.5, 2);
    adapter->scale.normal_();
    adapter->shift.normal_();
    adapter->down_bias.normal_();
  }
  const auto h = torch::randn({4, 5}), core = torch::randn({4, 2, 2});
  const auto down = torch::matmul(torch::matmul(adapter->down_in, core), adapter->down_out);  // [4, 5, 3]
  const auto up = torch::matmul(torch::matmul(adapter->up_in, core), adapter->up_out);        // [4, 3, 5]
  const auto a = (torch::einsum("bm,bma->ba", {h, down}) + adapter->down_bias).sigmoid();
  const auto u = torch::einsum("ba,bam->bm", {a, up});
  const auto scene = torch::tensor({0, 0, 0, 1});
  const auto mean = adapter->running_mean.index_select(0, scene), var = adapter->running_var.index_select(0, scene);
  const auto expected = h + adapter->scale * (u - mean) / (var + 1e-5).sqrt() + adapter->shift;
  CHECK_THAT(adapter->forward(h, core, {{0, 3, 4}}), IsNear(expected, 1e-5));
  CHECK_THROWS_WITH(adapter->forward(h, core.narrow(0, 0, 3), {{0, 3, 4}}),
                    StartsWith("HyperAdapter: core must be [4, 2, 2], got [3, 2, 2]"));
}
