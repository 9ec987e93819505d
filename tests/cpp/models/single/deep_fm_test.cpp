#include "polyscene/models/single/deep_fm.h"

#include "fields.h"
#include "polyscene/models/single/factorization_machine.h"

using namespace polyscene;
using models::DeepFM;
using models::DeepFMOptions;

TEST_CASE("DeepFM: any rows, all gradients") {
  check_field_model(DeepFM(tiny_schema(), DeepFMOptions().hidden({16, 8}).dropout(0)));
}

TEST_CASE("DeepFM: without its deep part it is a factorisation machine") {
  DeepFM model(tiny_schema());
  models::FactorizationMachine machine(tiny_schema());
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->deep->parameters()) parameter.zero_();
  for (auto& parameter : machine->named_parameters()) {
    parameter.value().copy_(model->named_parameters()[parameter.key()].normal_());
  }
  CHECK_THAT(model->forward(tiny_batch()), IsNear(machine->forward(tiny_batch()), 1e-6));
}
