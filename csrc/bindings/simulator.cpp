#include <torch/extension.h>

#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "bindings/options.h"
#include "polyscene/data/simulator.h"

namespace polyscene::bindings {

using data::Simulation;

void bind_simulator(py::module_& parent) {
  auto m = parent.def_submodule("data");
  py::class_<Simulation>(m, "Simulation", "Simulated events, and the truth that made them.")
      .def_property_readonly(
          "columns", [](const Simulation& self) { return std::const_pointer_cast<data::Columns>(self.columns); })
      .def_readonly("transition", &Simulation::transition, "float64 [S, S, K, K], noise mixed in.")
      .def_readonly("transition_end", &Simulation::transition_end, "float64 [S, S, K, K], on the last day.")
      .def_readonly("initial", &Simulation::initial, "float64 [S, K], first interest in each scene.")
      .def_readonly("scene_topic", &Simulation::scene_topic, "int64 [S, K], the topic that each interest looks for.")
      .def_readonly("item_topic", &Simulation::item_topic, "int64 [I].")
      .def_readonly("user_scenes", &Simulation::user_scenes, "bool [U, S].")
      .def_readonly("probability", &Simulation::probability, "float32 [N], click probability of each row.")
      .def_readonly("expected", &Simulation::expected, "float32 [N], knowing only the interest before.")
      .def_readonly("next_bayes", &Simulation::next_bayes, "Accuracy of the best guess of the next interest.")
      .def_readonly("next_bayes_scene", &Simulation::next_bayes_scene, "float64 [S], by the scene of the next event.");
  const auto run = [](const py::kwargs& given) {
    const auto options = options_from<data::SimulatorOptions>("simulator", to_options("simulator", given));
    const py::gil_scoped_release no_gil;
    return data::simulate(options);
  };
  m.def("simulate", torch::wrap_pybind_function(run), "Users whose interests move between scenes by known matrices.");
}

}  // namespace polyscene::bindings
