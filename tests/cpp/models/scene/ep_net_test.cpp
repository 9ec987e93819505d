#include "polyscene/models/scene/ep_net.h"

#include <cmath>

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::EPNet;
using models::EPNetOptions;

TEST_CASE("EPNet: the gate starts at 1 and scales what the predictor reads") {
  torch::manual_seed(1);
  EPNetOptions options = EPNetOptions().reference(true);
  options.common.dim(2).init_std(1);
  EPNet model(tiny_schema(), options);
  model->eval();
  const auto batch = tiny_batch();
  const auto before = model->forward(batch);
  CHECK(before.sizes() == at::IntArrayRef{8});
  CHECK(model->explain(batch)[1].second.equal(torch::ones({8, 5})));  // two fields of width 2, and the price
  {
    torch::NoGradGuard no_grad;
    model->gate->out_bias[0].fill_(std::log(3.0));  // delta = 2 * 3 / 4
  }
  const auto bias = model->tower->bias[0].item<float>();
  CHECK_THAT(model->forward(batch) - bias, IsNear(1.5 * (before - bias), 1e-5));
}
