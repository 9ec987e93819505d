#include <torch/extension.h>

#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "bindings/options.h"
#include "polyscene/transfer/aligned.h"
#include "polyscene/transfer/balanced.h"
#include "polyscene/transfer/consolidated.h"
#include "polyscene/transfer/distilled.h"
#include "polyscene/transfer/fine_tuned.h"
#include "polyscene/transfer/given_gradient.h"
#include "polyscene/transfer/low_rank.h"
#include "polyscene/transfer/mechanisms.h"
#include "polyscene/transfer/self_taught.h"
#include "polyscene/transfer/statistics.h"
#include "polyscene/transfer/warm_start.h"

namespace polyscene::bindings {

using namespace polyscene::transfer;
using data::Table;
using models::Model;
using torch::wrap_pybind_function;
using torch::wrap_pybind_function_no_gil;

namespace {

// A class around a model: `Parts` are what its constructor takes between the model and the options.
template <typename T, typename Options, typename... Parts, typename... Names>
py::class_<T, Model, std::shared_ptr<T>> bind_wrapped(py::module_& m, const char* name, const char* doc,
                                                      const Names&... names) {
  const auto make = [name](std::shared_ptr<Model> inner, const Parts&... parts, const py::dict& options) {
    const auto values = options_from<Options>(name, to_options(name, options));
    const py::gil_scoped_release no_gil;
    return std::make_shared<T>(std::move(inner), parts..., values);
  };
  py::class_<T, Model, std::shared_ptr<T>> cls(m, name, doc);
  cls.def(py::init(wrap_pybind_function(make)), py::arg("inner"), names..., py::arg("options") = py::dict());
  cls.def_property_readonly("settings", [](const T& self) { return to_python(to_map(self.options)); });
  return cls;
}

void bind_continued(py::module_& m) {
  bind_wrapped<LowRank, LowRankOptions>(m, "LowRank", "Low-rank adaptation of the matrices of a model.")
      .def("merged", wrap_pybind_function_no_gil(&LowRank::merged), "State of the model with what was learned.")
      .def("base", wrap_pybind_function_no_gil(&LowRank::base), "State of the model without it.")
      .def("release", &LowRank::release, "Makes plain tensors of the matrices.")
      .def("matrices", &LowRank::matrices, "Names of the adapted matrices.");
  bind_wrapped<FineTuned, FineTunedOptions>(m, "FineTuned", "Fine-tuning block by block.")
      .def("blocks", &FineTuned::blocks, "Names of the parameters of each block, the lowest first.");
  bind_wrapped<Consolidated, ConsolidatedOptions, State, State>(m, "Consolidated", "Elastic weight consolidation.",
                                                                py::arg("anchor"), py::arg("importance"))
      .def("penalty", wrap_pybind_function_no_gil(&Consolidated::penalty), "The penalty without its strength, [].")
      .def_property_readonly("unmatched", &Consolidated::unmatched, "Parameters that are free.");
  m.def("blocks_of", wrap_pybind_function(&blocks_of), py::arg("model"), "Blocks of parameters, the lowest first.");
}

void bind_taught(py::module_& m) {
  const auto make = [](std::shared_ptr<Model> inner, const std::vector<std::shared_ptr<Model>>& teachers,
                       const py::dict& options, const Table* sample) {
    const auto values = options_from<DistilledOptions>("Distilled", to_options("Distilled", options));
    const auto shown = sample ? std::make_optional(*sample) : std::nullopt;
    const py::gil_scoped_release no_gil;
    return std::make_shared<Distilled>(std::move(inner), teachers, values, shown);
  };
  py::class_<Distilled, Model, std::shared_ptr<Distilled>>(m, "Distilled", "A model with teachers.")
      .def(py::init(wrap_pybind_function(make)), py::arg("inner"), py::arg("teachers"), py::arg("options") = py::dict(),
           py::arg("sample") = nullptr)
      .def_property_readonly("settings", [](const Distilled& self) { return to_python(to_map(self.options)); })
      .def("soft_loss", wrap_pybind_function_no_gil(&Distilled::soft_loss), py::arg("batch"),
           "What the soft labels add, before its share, [].");
  m.def("prior_shift", wrap_pybind_function(&prior_shift), py::arg("from_share"), py::arg("to_share"),
        "What to add to logits from rows with one share of positive labels to rows with another.");
  bind_wrapped<PseudoLabelled, PseudoLabelledOptions, Table>(m, "PseudoLabelled", "Confident answers as labels.",
                                                             py::arg("table"))
      .def("unlabelled_loss", wrap_pybind_function_no_gil(&PseudoLabelled::unlabelled_loss), py::arg("batch"),
           "Mean over rows without labels, before its weight, [].");
  bind_wrapped<MeanTeacher, MeanTeacherOptions, std::shared_ptr<Model>, Table>(
      m, "MeanTeacher", "A model and the running mean of it.", py::arg("teacher"), py::arg("table"))
      .def("follow", wrap_pybind_function_no_gil(&MeanTeacher::follow), "Moves the teacher after a step.");
  m.def("ramped", &ramped, py::arg("weight"), py::arg("step"), py::arg("ramp"), "w_max exp(-5 (1 - t / T)^2).");
}

void bind_balanced(py::module_& m) {
  bind_wrapped<Aligned, AlignedOptions, Table>(m, "Aligned", "Hidden layers that look alike in all scenes.",
                                               py::arg("table"))
      .def("alignment", wrap_pybind_function_no_gil(&Aligned::alignment), py::arg("number"),
           "The alignment on the rows of a step, [].")
      .def("accuracy", wrap_pybind_function_no_gil(&Aligned::accuracy), py::arg("number"),
           "Share of the rows of a step whose scene the discriminator tells.");
  bind_wrapped<Balanced, BalancedOptions>(m, "Balanced", "Scenes as tasks.");
  m.def("project_conflicts", wrap_pybind_function_no_gil(&project_conflicts), py::arg("gradients"), py::arg("orders"),
        "PCGrad on gradients [P] each.");
}

void bind_starts(py::module_& m) {
  const auto start = [](Model& model, const std::vector<Table>& tasks, const py::dict& options) {
    const auto values = options_from<WarmStartOptions>("warm_start", to_options("warm_start", options));
    const py::gil_scoped_release no_gil;
    return warm_start(model, tasks, values);
  };
  m.def("warm_start", wrap_pybind_function(start), py::arg("model"), py::arg("tasks"), py::arg("options") = py::dict(),
        "Moves a model to where a few steps on any task lead far; the mean loss of each round.");
  const auto again = [](Model& model, const Table& table, const py::dict& options) {
    const auto values =
        options_from<StatisticsOptions>("recompute_statistics", to_options("recompute_statistics", options));
    const py::gil_scoped_release no_gil;
    return recompute_statistics(model, table, values);
  };
  m.def("recompute_statistics", wrap_pybind_function(again), py::arg("model"), py::arg("table"),
        py::arg("options") = py::dict(), "Statistics of batch norm on the rows of a table; how many buffers.");
  m.def("add_tasks", wrap_pybind_function_no_gil(&add_tasks), py::arg("initial"), py::arg("models"), py::arg("weights"),
        "theta_0 + sum_i w_i (theta_i - theta_0).");
}

}  // namespace

void bind_mechanisms(py::module_& m) {
  bind_continued(m);
  bind_taught(m);
  bind_balanced(m);
  bind_starts(m);
  const auto all = [] {
    py::list out;
    for (const auto& each : mechanisms()) out.append(py::make_tuple(each.name, each.doc, to_python(each.options())));
    return out;
  };
  m.def("mechanisms", all, "All mechanisms as (name, doc, options).");
}

}  // namespace polyscene::bindings
