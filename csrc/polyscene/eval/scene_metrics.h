#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

namespace polyscene::eval {

/// Metrics of a set of rows, overall and per scene.
struct Evaluation {
  std::vector<std::string> metrics;       ///< in the order asked for
  std::vector<std::string> scene_names;   ///< in the order of the schema
  std::map<std::string, double> overall;  ///< all rows pooled; NaN where undefined
  std::map<std::string, double> macro;    ///< plain mean over the scenes where the metric is defined
  std::map<std::string, std::map<std::string, double>> scenes;  ///< scene -> metric -> value
  std::map<std::string, std::string> undefined;  ///< "overall.auc", "macro.auc", "scenes.a.auc" -> reason
  std::map<std::string, int64_t> rows;           ///< scene -> number of rows
  std::map<std::string, int64_t> positives;      ///< scene -> number of rows with label 1; ctr only
};

/// What `evaluate_scores` measures and how.
struct ScoreOptions {
  /// int64 [N], rows of the user vocabulary, or undefined; unknown (0) and missing (1) users are nobody in particular
  /// and stay out of `gauc`.
  torch::Tensor user = {};
  torch::Tensor item = {};                ///< int64 [N], for `coverage`, or undefined
  torch::Tensor weight = {};              ///< [N], non-negative, or undefined
  std::vector<std::string> metrics = {};  ///< empty: `default_metrics`
  double threshold = 0.5;                 ///< probability from which a row is called positive
  std::string task = "ctr";               ///< "ctr" or "rating"
};

/// Metrics of a task: ctr auc gauc log_loss accuracy precision recall f1 coverage, rating rmse mae.
/// Throws ValueError for a task without metrics on rows.
std::vector<std::string> known_metrics(const std::string& task);
/// What is measured when nobody says: `gauc` only with users, `coverage` only with items.
std::vector<std::string> default_metrics(const std::string& task, bool users, bool items);
/// Throws ValueError for a name outside `known_metrics`, with a suggestion.
void check_metrics(const std::string& task, const std::vector<std::string>& names);

/// Measures `logits` (rating: predictions) [N] against `label` [N], overall and in each scene (`scene` int64 [N]
/// indexes `scene_names`). An undefined metric is NaN and has its reason in `undefined`; it is never replaced by a
/// number. The scenes run in parallel, and results do not depend on the number of threads. Throws ValueError for
/// unknown metrics, shapes that do not fit, NaN and labels other than 0 and 1 (ctr), IndexError for a scene outside the
/// names.
Evaluation evaluate_scores(const torch::Tensor& logits, const torch::Tensor& label, const torch::Tensor& scene,
                           const std::vector<std::string>& scene_names, const ScoreOptions& options = {});

}  // namespace polyscene::eval
