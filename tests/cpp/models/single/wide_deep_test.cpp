#include "polyscene/models/single/wide_deep.h"

#include "fields.h"

using namespace polyscene;
using models::WideDeep;
using models::WideDeepOptions;

TEST_CASE("WideDeep: any rows, all gradients") {
  check_field_model(WideDeep(tiny_schema(), WideDeepOptions().norm("layer").dropout(0)));
}

TEST_CASE("WideDeep: the wide part is of first order") {
  WideDeep model(tiny_schema());
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->deep->parameters()) parameter.zero_();
    model->base.fill_(1);
    model->scene_bias.copy_(torch::tensor({10.F, 20.F}));
    model->first_order->weight.fill_(0.25);
  }
  model->eval();
  CHECK_THAT(model->forward(tiny_batch()),
             IsNear(torch::tensor({11.5F, 11.5F, 11.5F, 11.5F, 11.5F, 21.5F, 21.5F, 21.5F}), 1e-5));
}
