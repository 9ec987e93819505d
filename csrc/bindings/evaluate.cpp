#include <torch/extension.h>

#include <pybind11/stl.h>

#include <limits>

#include "bindings/bindings.h"
#include "polyscene/eval/evaluate.h"
#include "polyscene/eval/met.h"
#include "polyscene/eval/predict.h"
#include "polyscene/eval/ranking.h"
#include "polyscene/eval/reasons.h"
#include "polyscene/eval/recommend.h"
#include "polyscene/eval/similar.h"

namespace polyscene::bindings {

using torch::wrap_pybind_function;

namespace {

py::dict evaluation_dict(const eval::Evaluation& evaluation) {
  py::dict out;
  out["metrics"] = evaluation.metrics;
  out["scene_names"] = evaluation.scene_names;
  out["overall"] = evaluation.overall;
  out["macro"] = evaluation.macro;
  out["scenes"] = evaluation.scenes;
  out["undefined"] = evaluation.undefined;
  out["rows"] = evaluation.rows;
  out["positives"] = evaluation.positives;
  return out;
}

}  // namespace

void bind_evaluate(py::module_& parent) {
  auto m = parent.def_submodule("eval");
  const auto evaluate = [](models::Model& model, const data::Table& table, const std::vector<std::string>& metrics,
                           double threshold) {
    std::pair<eval::Evaluation, torch::Tensor> measured;
    {
      const py::gil_scoped_release no_gil;
      measured = eval::evaluate(model, table, metrics, threshold);
    }
    auto out = evaluation_dict(measured.first);
    out["logits"] = measured.second;
    return out;
  };
  m.def("evaluate", wrap_pybind_function(evaluate), py::arg("model"), py::arg("table"),
        py::arg("metrics") = std::vector<std::string>(), py::arg("threshold") = 0.5,
        "Metrics overall, as the mean over scenes, and for each scene.");
  const auto evaluate_ranking = [](models::Model& model, const data::Table& table,
                                   const std::vector<std::string>& metrics, const std::vector<int64_t>& k,
                                   int64_t candidates, uint64_t seed, bool exclude_seen) {
    eval::RankingEvaluation measured;
    {
      const py::gil_scoped_release no_gil;
      measured = eval::evaluate_ranking(model, table, {metrics, k, candidates, seed, exclude_seen});
    }
    auto out = evaluation_dict(measured.summary);
    out["users"] = measured.users;
    out["repeated"] = measured.repeated;
    out["without_user"] = measured.without_user;
    const auto& queries = measured.queries;
    py::dict columns;
    columns["scene"] = queries.scene;
    columns["user"] = queries.user;
    columns["row"] = queries.row;
    columns["positives"] = queries.positives;
    columns["unreachable"] = queries.unreachable;
    columns["known_here"] = queries.known_here;
    columns["known_elsewhere"] = queries.known_elsewhere;
    columns["values"] = queries.values;
    out["queries"] = columns;
    return out;
  };
  m.def("evaluate_ranking", wrap_pybind_function(evaluate_ranking), py::arg("model"), py::arg("table"),
        py::arg("metrics") = std::vector<std::string>(), py::arg("k") = std::vector<int64_t>{10},
        py::arg("candidates") = 0, py::arg("seed") = 0, py::arg("exclude_seen") = true,
        "Metrics of rankings, and the values of each user.");
  m.def("ranking_metrics", &eval::ranking_metrics, "Metrics of rankings; each is asked for with @k.");
  m.def("predict_logits", torch::wrap_pybind_function_no_gil(&eval::predict_logits), py::arg("model"), py::arg("table"),
        py::arg("batch_size") = eval::kEvaluationBatch, "Logits of every row in table order, [n].");
  const auto recommend = [](models::Model& model, const torch::Tensor& user, std::optional<torch::Tensor> user_fields,
                            std::optional<data::Events> events, int64_t scene, int64_t k, bool exclude_seen) {
    eval::Recommendation out;
    {
      const py::gil_scoped_release no_gil;
      out = eval::recommend(model, {user, user_fields.value_or(torch::Tensor()), events.value_or(data::Events()), scene,
                                    k, exclude_seen});
    }
    return py::make_tuple(out.item, out.scene, out.score, out.known);
  };
  m.def("recommend", wrap_pybind_function(recommend), py::arg("model"), py::arg("user"),
        py::arg("user_fields") = py::none(), py::arg("events") = py::none(), py::arg("scene") = -1, py::arg("k") = 10,
        py::arg("exclude_seen") = true, "Returns (items [U, k], scenes [U, k], scores [U, k], known [U]).");
  const auto behaviour = [](const data::History& history, const torch::Tensor& user) {
    return eval::behaviour(history, user, {}, std::numeric_limits<int32_t>::max());
  };
  m.def("behaviour", wrap_pybind_function(behaviour), py::arg("history"), py::arg("user"),
        "What users did in training, one list each, oldest first.");
  const auto similar_items = [](models::Model& model, int64_t item, int64_t source, int64_t target, int64_t k) {
    eval::Similar out;
    {
      const py::gil_scoped_release no_gil;
      out = eval::similar_items(model, item, source, target, k);
    }
    return py::make_tuple(out.item, out.scene, out.score);
  };
  m.def("similar_items", wrap_pybind_function(similar_items), py::arg("model"), py::arg("item"), py::arg("source") = -1,
        py::arg("target") = -1, py::arg("k") = 10, "Returns (items [n], scenes [n], scores [n]).");
  const auto reasons = [](models::Model& model, int64_t user, std::optional<data::Events> events,
                          const torch::Tensor& items, const torch::Tensor& scenes) {
    eval::Reasons out;
    {
      const py::gil_scoped_release no_gil;
      out = eval::recommendation_reasons(model, user, events.value_or(data::Events()), items, scenes);
    }
    return py::make_tuple(out.item, out.scene, out.part);
  };
  m.def("recommendation_reasons", wrap_pybind_function(reasons), py::arg("model"), py::arg("user"), py::arg("events"),
        py::arg("items"), py::arg("scenes"), "Returns (items [L], scenes [L], parts [N, L]).");
}

}  // namespace polyscene::bindings
