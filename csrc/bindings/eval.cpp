#include <torch/extension.h>

#include <pybind11/stl.h>

#include <optional>

#include "bindings/bindings.h"
#include "polyscene/eval/metrics.h"
#include "polyscene/eval/scene_metrics.h"

namespace polyscene::bindings {

using namespace polyscene::eval;
using torch::Tensor;
using torch::wrap_pybind_function_no_gil;

namespace {

using Weight = std::optional<Tensor>;
using Pair = std::pair<double, std::string>;

Pair to_pair(const Value& value) { return {value.value, value.reason}; }
Tensor given(const Weight& weight) { return weight.value_or(Tensor()); }

void bind_metrics(py::module_& m) {
  // Metrics of (scores, label, weight), all called the same way.
  const auto plain = [&m](const char* name, Value (*metric)(const Tensor&, const Tensor&, const Tensor&),
                          const char* doc) {
    m.def(name, wrap_pybind_function_no_gil([metric](const Tensor& scores, const Tensor& label, const Weight& weight) {
            return to_pair(metric(scores, label, given(weight)));
          }),
          py::arg("scores"), py::arg("label"), py::arg("weight") = py::none(), doc);
  };
  plain("auc", auc, "(area under the ROC curve, reason when undefined); ties count one half.");
  plain("log_loss", log_loss, "(mean negative log likelihood of the logits, reason).");
  plain("rmse", rmse, "(root of the mean squared error, reason).");
  plain("mae", mae, "(mean absolute error, reason).");
  plain("best_threshold", best_threshold, "(threshold on the probability with the largest F1, reason).");
  m.def("gauc",
        wrap_pybind_function_no_gil(
            [](const Tensor& scores, const Tensor& label, const Tensor& user, const Weight& weight) {
              return to_pair(gauc(scores, label, user, given(weight)));
            }),
        py::arg("scores"), py::arg("label"), py::arg("user"), py::arg("weight") = py::none(),
        "(mean AUC of the users with both classes, weighted by their rows, reason).");
  m.def("coverage", wrap_pybind_function_no_gil([](const Tensor& scores, const Tensor& item, double threshold) {
          return to_pair(coverage(scores, item, threshold));
        }),
        py::arg("scores"), py::arg("item"), py::arg("threshold") = 0.5,
        "(share of the items called positive, reason).");
  m.def("confusion",
        wrap_pybind_function_no_gil(
            [](const Tensor& scores, const Tensor& label, double threshold, const Weight& weight) {
              const auto found = confusion(scores, label, threshold, given(weight));
              return std::map<std::string, Pair>{{"accuracy", to_pair(found.accuracy())},
                                                 {"precision", to_pair(found.precision())},
                                                 {"recall", to_pair(found.recall())},
                                                 {"f1", to_pair(found.f1())}};
            }),
        py::arg("scores"), py::arg("label"), py::arg("threshold") = 0.5, py::arg("weight") = py::none(),
        "accuracy, precision, recall and f1, each as (value, reason), from one table of counts.");
}

void bind_curves(py::module_& m) {
  m.def(
      "roc",
      wrap_pybind_function_no_gil([](const Tensor& scores, const Tensor& label, const Weight& weight, int64_t points) {
        const auto found = roc(scores, label, given(weight), points);
        return std::make_tuple(found.false_positive_rate, found.true_positive_rate, found.threshold, found.reason);
      }),
      py::arg("scores"), py::arg("label"), py::arg("weight") = py::none(), py::arg("points") = 200,
      "(false positive rates, true positive rates, thresholds on the logit, reason when there is no curve).");
  m.def("calibration",
        wrap_pybind_function_no_gil([](const Tensor& scores, const Tensor& label, const Weight& weight, int64_t bins) {
          const auto found = calibration(scores, label, given(weight), bins);
          return std::make_tuple(found.predicted, found.observed, found.weight, to_pair(found.error));
        }),
        py::arg("scores"), py::arg("label"), py::arg("weight") = py::none(), py::arg("bins") = 10,
        "(mean probability, mean label and weight of each bin, (expected calibration error, reason)).");
}

py::dict scores_to_dict(const Tensor& scores, const Tensor& label, const Tensor& scene,
                        const std::vector<std::string>& scene_names, const Weight& user, const Weight& item,
                        const Weight& weight, const std::vector<std::string>& metrics, double threshold,
                        const std::string& task) {
  Evaluation found;
  {
    const py::gil_scoped_release no_gil;
    found = evaluate_scores(scores, label, scene, scene_names,
                            {given(user), given(item), given(weight), metrics, threshold, task});
  }
  py::dict out;
  out["metrics"] = found.metrics;
  out["scene_names"] = found.scene_names;
  out["overall"] = found.overall;
  out["macro"] = found.macro;
  out["scenes"] = found.scenes;
  out["undefined"] = found.undefined;
  out["rows"] = found.rows;
  out["positives"] = found.positives;
  return out;
}

}  // namespace

void bind_eval(py::module_& parent) {
  auto m = parent.def_submodule("eval", "Metrics of scores, overall and per scene.");
  bind_metrics(m);
  bind_curves(m);
  m.def("known_metrics", torch::wrap_pybind_function(&known_metrics), py::arg("task"), "Metrics of a task.");
  m.def("evaluate_scores", torch::wrap_pybind_function(&scores_to_dict), py::arg("scores"), py::arg("label"),
        py::arg("scene"), py::arg("scene_names"), py::kw_only(), py::arg("user") = py::none(),
        py::arg("item") = py::none(), py::arg("weight") = py::none(), py::arg("metrics") = std::vector<std::string>(),
        py::arg("threshold") = 0.5, py::arg("task") = "ctr",
        "Metrics overall, as mean over scenes and of each scene, with reasons for undefined ones.");
}

}  // namespace polyscene::bindings
