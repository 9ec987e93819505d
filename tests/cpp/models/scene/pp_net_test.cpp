#include "polyscene/models/scene/pp_net.h"

#include <cmath>

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::PPNet;
using models::PPNetOptions;

TEST_CASE("PPNet: a gate scales the layer of its scene") {
  torch::manual_seed(1);
  auto options = PPNetOptions().tower({4}).norm("none");
  options.common.dim(2).init_std(1);
  PPNet model(tiny_schema(), options);
  const auto batch = tiny_batch();
  const auto before = model->forward(batch);
  CHECK(before.sizes() == at::IntArrayRef{8});
  {
    torch::NoGradGuard no_grad;
    model->gates->out_bias[0][1].fill_(std::log(3.0));  // delta = 1.5 in the second scene
  }
  const auto after = model->forward(batch);  // rows 5 to 7 are of the second scene
  const auto bias = model->towers->bias[1][1].item<float>();
  CHECK_THAT(after.narrow(0, 0, 5), IsNear(before.narrow(0, 0, 5)));
  CHECK_THAT(after.narrow(0, 5, 3) - bias, IsNear(1.5 * (before.narrow(0, 5, 3) - bias), 1e-5));
}

TEST_CASE("PPNet: data without user and item needs fields for the prior") {
  auto schema = std::make_shared<data::Schema>(*tiny_schema());
  schema->user = schema->item = -1;
  CHECK_THROWS_WITH(PPNet(schema), StartsWith("PPNet: the data has neither a user nor an item column"));
  PPNet model(schema, PPNetOptions().prior({"item"}));
  CHECK(model->gates->prior_size == 16);
  CHECK(model->gates->rest_size == 17);  // the user's field, and the price
}
