#include "polyscene/eval/evaluate.h"

#include <algorithm>

#include "polyscene/data/classes.h"
#include "polyscene/eval/class_metrics.h"
#include "polyscene/eval/codes.h"
#include "polyscene/eval/predict.h"

namespace polyscene::eval {
namespace {

torch::Tensor of_rows(const torch::Tensor& column, const torch::Tensor& rows) {
  return column.defined() && rows.defined() ? column.index_select(0, rows) : column;
}

}  // namespace

std::pair<Evaluation, torch::Tensor> evaluate(models::Model& model, const data::Table& table,
                                              const std::vector<std::string>& metrics, double threshold) {
  const auto label = table.labels();
  TORCH_CHECK_VALUE(label.defined(), "evaluate: the table has no label column");
  const auto& columns = *table.columns();
  // Scenes by the names of the data, so that one the model never saw is reported under its own.
  const auto code = of_rows(columns.scene, table.rows()).to(torch::kInt64);
  std::vector<char> present(columns.scene_names.size());
  const auto* codes = code.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < code.numel(); ++i) present[codes[i]] = 1;
  std::vector<std::string> names;
  const auto position = torch::full({static_cast<int64_t>(present.size())}, -1, torch::kInt64);
  for (size_t scene = 0; scene < present.size(); ++scene) {
    if (!present[scene]) continue;
    position.data_ptr<int64_t>()[scene] = static_cast<int64_t>(names.size());
    names.push_back(columns.scene_names[scene]);
  }
  ScoreOptions options;
  const auto asked = [&](const char* name) {
    return metrics.empty() || std::find(metrics.begin(), metrics.end(), name) != metrics.end();
  };
  const auto& schema = table.schema();
  // Rows of a vocabulary start with the two that are nobody.
  if (asked("gauc") && schema.user >= 0) options.user = codes_of(table, schema.user) + data::kFirstId;
  if (asked("coverage") && schema.item >= 0) options.item = codes_of(table, schema.item);
  options.weight = of_rows(columns.weight, table.rows());
  options.metrics = metrics;
  options.threshold = threshold;
  options.task = model.schema().task;
  const auto logits = predict_logits(model, table);
  const auto scene = position.index_select(0, code);
  const auto measure = data::has_classes(options.task) ? &evaluate_classes : &evaluate_scores;
  return {measure(logits, label, scene, names, options), logits};
}

}  // namespace polyscene::eval
