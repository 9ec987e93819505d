#include <torch/extension.h>

#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "polyscene/eval/evaluate.h"
#include "polyscene/eval/predict.h"

namespace polyscene::bindings {

using torch::wrap_pybind_function;

namespace {

py::dict to_python(const eval::Evaluation& evaluation) {
  py::dict out;
  out["metrics"] = evaluation.metrics;
  out["scene_names"] = evaluation.scene_names;
  out["overall"] = evaluation.overall;
  out["macro"] = evaluation.macro;
  out["scenes"] = evaluation.scenes;
  out["undefined"] = evaluation.undefined;
  out["rows"] = evaluation.rows;
  return out;
}

}  // namespace

void bind_evaluate(py::module_& parent) {
  auto m = parent.def_submodule("eval");
  const auto evaluate = [](models::Model& model, const data::Table& table, const std::vector<std::string>& metrics, double threshold) {
    eval::Evaluation out;
    {
      const py::gil_scoped_release no_gil;
      out = eval::evaluate(model, table, metrics, threshold);
    }
    return to_python(out);
  };
  m.def("evaluate", wrap_pybind_function(evaluate), py::arg("model"), py::arg("table"),
        py::arg("metrics") = std::vector<std::string>(), py::arg("threshold") = 0.5,
        "Metrics overall, as the mean over scenes, and for each scene.");
  m.def("predict_logits", torch::wrap_pybind_function_no_gil(&eval::predict_logits), py::arg("model"), py::arg("table"),
        py::arg("batch_size") = eval::kEvaluationBatch, "Logits of every row in table order, [n].");
}

}  // namespace polyscene::bindings
