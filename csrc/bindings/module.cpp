#include "bindings/bindings.h"

PYBIND11_MODULE(_C, m) {
  using namespace polyscene::bindings;
  m.doc() = "The compiled part of polyscene.";
  bind_core(m);
  bind_data(m);
  bind_simulator(m);
  bind_nn(m);
  bind_models(m);
  bind_transfer(m);
  bind_eval(m);
  bind_evaluate(m);
  bind_train(m);
}
