#include <torch/extension.h>

#include <pybind11/stl.h>

#include "bindings/bind_model.h"
#include "bindings/bindings.h"
#include "bindings/options.h"
#include "polyscene/transfer/anchored.h"
#include "polyscene/transfer/fisher.h"
#include "polyscene/transfer/match.h"

namespace polyscene::bindings {

using namespace polyscene::transfer;
using torch::wrap_pybind_function;
using torch::wrap_pybind_function_no_gil;

namespace {

void bind_fusion(py::module_& m) {
  py::class_<Migrated>(m, "Migrated", "A trained model, as fusion sees it.")
      .def(py::init<State, double, State, State>(), py::arg("state"), py::kw_only(), py::arg("weight") = 1.0,
           py::arg("importance") = State{}, py::arg("rows") = State{})
      .def_readonly("state", &Migrated::state, "Parameters and buffers by name.")
      .def_readonly("weight", &Migrated::weight, "Its share, such as its training rows.")
      .def_readonly("importance", &Migrated::importance,
                    "Diagonal Fisher information by name; empty: all count the same.")
      .def_readonly("rows", &Migrated::rows, "How much each row of a lookup table counts, [V] by name.");
  m.def("fuse", wrap_pybind_function_no_gil(&fuse), py::arg("initial"), py::arg("models"),
        py::arg("tables") = std::vector<std::string>(), "Fuses models that were trained from the same initialisation.");
  const auto information = [](models::Model& model, const data::Table& table, const py::dict& options) {
    const auto values = options_from<FisherOptions>("fisher", to_options("fisher", options));
    const py::gil_scoped_release no_gil;
    return fisher(model, table, values);
  };
  m.def("fisher", wrap_pybind_function(information), py::arg("model"), py::arg("table"),
        py::arg("options") = py::dict(), "Diagonal Fisher information of each parameter.");
  m.def(
      "fisher_fields", [] { return to_python(option_fields<FisherOptions>()); },
      "Options as (name, type, default, doc).");
  m.def("lookups", wrap_pybind_function_no_gil(&lookups), py::arg("model"), py::arg("train"),
        "How many training rows looked up each row of each lookup table.");
}

void bind_anchored(py::module_& m) {
  const auto make = [](std::shared_ptr<models::Model> inner, const std::vector<State>& anchors,
                       const py::dict& options) {
    const auto values = options_from<AnchoredOptions>("Anchored", to_options("Anchored", options));
    const py::gil_scoped_release no_gil;
    return std::make_shared<Anchored>(std::move(inner), anchors, values);
  };
  py::class_<Anchored, models::Model, std::shared_ptr<Anchored>> cls(m, "Anchored",
                                                                     "A model tied to what was migrated.");
  cls.def(py::init(wrap_pybind_function(make)), py::arg("inner"), py::arg("anchors"), py::arg("options") = py::dict())
      .def("migration_loss", wrap_pybind_function_no_gil(&Anchored::migration_loss), "L_migration, [].")
      .def_property_readonly("unmatched", &Anchored::unmatched, "Parameters without an anchor.")
      .def_property_readonly("unused", &Anchored::unused, "Anchors without a parameter.");
  m.def(
      "anchored_fields", [] { return to_python(option_fields<AnchoredOptions>()); },
      "Options as (name, type, default, doc).");
}

void bind_match(py::module_& m) {
  py::class_<Matched>(m, "Matched", "What became of each parameter of a source model.")
      .def_readonly("copied", &Matched::copied, "Same name and shape.")
      .def_readonly("by_id", &Matched::by_id, "Lookup tables, row by row.")
      .def_readonly("unmatched", &Matched::unmatched, "Parameters that kept their values, with the reason.")
      .def_readonly("unused", &Matched::unused, "Parameters of the source that the target lacks.")
      .def_readonly("rows", &Matched::rows, "Rows that were carried over, by table.");
  m.def("carry", wrap_pybind_function_no_gil(&carry), py::arg("target"), py::arg("source"),
        "Writes the parameters of one model into another, by name, shape and id.");
}

}  // namespace

void bind_transfer(py::module_& parent) {
  auto m = parent.def_submodule("transfer", "Fusion, migration loss and matching of parameters.");
  bind_fusion(m);
  bind_anchored(m);
  bind_match(m);
  bind_mechanisms(m);
}

}  // namespace polyscene::bindings
