#pragma once

#include <string>
#include <utility>
#include <vector>

#include "polyscene/data/table.h"
#include "polyscene/eval/scene_metrics.h"
#include "polyscene/models/base.h"

namespace polyscene::eval {

/// Scores every row of `table` and computes metrics overall, as the mean over scenes, and for each scene.
/// `metrics` empty: all of the task. Throws ValueError for an unknown metric, a table without labels or of another
/// schema. The logits come along, [n] in table order.
std::pair<Evaluation, torch::Tensor> evaluate(models::Model& model, const data::Table& table,
                                              const std::vector<std::string>& metrics = {}, double threshold = 0.5);

}  // namespace polyscene::eval
