#include "polyscene/models/single/factorization_machine.h"

#include "fields.h"

using namespace polyscene;
using models::FactorizationMachine;
using models::FactorizationMachineOptions;

TEST_CASE("FactorizationMachine: first order and pairs by hand") {
  FactorizationMachine model(tiny_schema(),
                             FactorizationMachineOptions{models::FieldOptions().dim(1).scene_field(false)});
  {
    const torch::NoGradGuard no_grad;
    model->base.fill_(0.5);
    model->first_order->weight.fill_(1);
    model->numeric_weight.fill_(3);
    model->embedding->weight.fill_(2);
    model->numeric_embedding.fill_(5);
  }
  auto batch = tiny_batch().take(torch::tensor({0}));
  batch.numeric = torch::tensor({{0.1F}});
  // 0.5 + (1 + 1) + 3 / 10, and the pairs of 2, 2 and 0.5
  CHECK(model->forward(batch).item<double>() == Approx(2.8 + 4 + 1 + 1));
  CHECK_FALSE(model->scene_bias.defined());
  CHECK_FALSE(model->scene_embedding.defined());
}

TEST_CASE("FactorizationMachine: any rows, all gradients") { check_field_model(FactorizationMachine(tiny_schema())); }

TEST_CASE("FactorizationMachine: starts at the log-odds of the labels") {
  FactorizationMachine model(tiny_schema(), FactorizationMachineOptions{models::FieldOptions().init_std(0)});
  CHECK_THAT(model->forward(tiny_batch()).sigmoid(), IsNear(torch::full({8}, 0.5F), 1e-6));
}
