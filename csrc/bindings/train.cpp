#include <torch/extension.h>

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "bindings/options.h"
#include "polyscene/train/checkpoint.h"
#include "polyscene/train/config.h"
#include "polyscene/train/trainer.h"

namespace polyscene::bindings {

using namespace polyscene::train;
using torch::wrap_pybind_function;
using torch::wrap_pybind_function_no_gil;

namespace {

py::dict epoch_row(const Epoch& line) {
  py::dict out;
  out["epoch"] = line.epoch;
  out["phase"] = line.phase;
  out["train_loss"] = line.train_loss;
  out["valid"] = line.valid;
  out["seconds"] = line.seconds;
  out["rows_per_s"] = line.rows_per_s;
  out["best"] = line.best;
  return out;
}

// True once Ctrl-C was pressed; only the main thread sees signals.
bool signalled() {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() == 0) return false;
  if (!PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) throw py::error_already_set();
  PyErr_Clear();
  return true;
}

py::tuple fit(const Trainer& self, models::Model& model, const data::Table& train, const data::Table* valid,
              const py::object& progress, const py::object& epoch, const std::string& checkpoint, bool resume) {
  Callbacks callbacks;
  callbacks.interrupted = signalled;
  if (!progress.is_none()) {
    callbacks.progress = [&](int64_t number, int64_t done, int64_t rows, double loss) {
      const py::gil_scoped_acquire gil;
      progress(number, done, rows, loss);
    };
  }
  if (!epoch.is_none()) {
    callbacks.epoch = [&](const Epoch& line) {
      const py::gil_scoped_acquire gil;
      epoch(epoch_row(line));
    };
  }
  FitResult result;
  {
    const py::gil_scoped_release no_gil;
    result = self.fit(model, train, valid, callbacks, checkpoint, resume);
  }
  py::list history;
  for (const auto& line : result.history) history.append(epoch_row(line));
  return py::make_tuple(history, result.best_epoch, result.interrupted);
}

void bind_trainer(py::module_& m) {
  py::class_<Trainer>(m, "Trainer", "Trains models; the best epoch on validation data is what remains.")
      .def(py::init(wrap_pybind_function([](const py::dict& options) {
             return std::make_unique<Trainer>(options_from<TrainOptions>("Trainer", to_options("Trainer", options)));
           })),
           py::arg("options"))
      .def_property_readonly("options", [](const Trainer& self) { return to_python(to_map(self.options())); })
      .def("monitor", &Trainer::monitor, py::arg("task"))
      .def("fit", wrap_pybind_function(fit), py::arg("model"), py::arg("train"), py::arg("valid") = nullptr,
           py::arg("progress") = py::none(), py::arg("epoch") = py::none(), py::arg("checkpoint") = "",
           py::arg("resume") = false, "Returns (history, best epoch, whether it was interrupted).");
}

void bind_checkpoint(py::module_& m) {
  const auto write = [](const std::string& path, const std::string& model, const py::dict& options,
                        std::shared_ptr<data::Schema> schema, std::shared_ptr<data::History> history,
                        const std::map<std::string, torch::Tensor>& state,
                        const std::map<std::string, std::string>& metadata) {
    const auto values = to_options(model, options);
    const py::gil_scoped_release no_gil;
    write_checkpoint(path, {model, values, schema, history, state, {}, metadata});
  };
  m.def("write_checkpoint", wrap_pybind_function(write), py::arg("path"), py::kw_only(), py::arg("model"),
        py::arg("options"), py::arg("schema"), py::arg("history"), py::arg("state"), py::arg("metadata"),
        "Writes one safetensors file, atomically.");
  const auto read = [](const std::string& path) {
    auto checkpoint = read_checkpoint(path);
    py::dict out;
    out["model"] = checkpoint.model;
    out["options"] = to_python(checkpoint.options);
    out["schema"] = std::const_pointer_cast<data::Schema>(checkpoint.schema);
    out["history"] = std::const_pointer_cast<data::History>(checkpoint.history);
    out["state"] = checkpoint.state;
    out["metadata"] = checkpoint.metadata;
    return out;
  };
  m.def("read_checkpoint", wrap_pybind_function(read), py::arg("path"), "What a model file holds, by name.");
}

}  // namespace

void bind_train(py::module_& parent) {
  auto m = parent.def_submodule("train", "Trainer, checkpoints and configs.");
  bind_optimizer(m);
  bind_trainer(m);
  bind_checkpoint(m);
  m.def("resolve_config", wrap_pybind_function(&resolve_config), py::arg("text"), py::arg("source") = "config",
        py::arg("overrides") = std::vector<std::string>(), "Checks a config and fills in every default; JSON text.");
  m.def("section_fields",
        wrap_pybind_function([](const std::string& section) { return to_python(section_fields(section)); }),
        py::arg("section"), "Fields of a config section as (name, type, default, doc).");
}

}  // namespace polyscene::bindings
