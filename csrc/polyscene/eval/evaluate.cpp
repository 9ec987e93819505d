#include "polyscene/eval/evaluate.h"

#include "polyscene/eval/predict.h"

namespace polyscene::eval {

Evaluation evaluate(models::Model& model, const data::Table& table, const std::vector<std::string>& metrics, double threshold) {
  const auto label = table.labels();
  TORCH_CHECK_VALUE(label.defined(), "evaluate: the table has no label column");
  const auto logits = predict_logits(model, table);
  return evaluate_scores(logits, label, table.scenes(), model.schema().scenes, table.users(), {}, metrics, threshold,
                         model.schema().task);
}

}  // namespace polyscene::eval
