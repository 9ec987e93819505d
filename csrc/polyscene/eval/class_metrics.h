#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "polyscene/eval/scene_metrics.h"

namespace polyscene::eval {

/// Measures `logits` [N, C] of C classes against `label` [N] (0 to C - 1), overall and in each scene (`scene` int64 [N]
/// indexes `scene_names`). The class of a row is that of its largest logit, of equal ones the first.
///
///   accuracy   share of rows whose class is right
///   precision  mean over the classes that rows have or are given of TP / (TP + FP)
///   recall     the same of TP / (TP + FN)
///   f1         the same of 2 TP / (2 TP + FP + FN)
///   log_loss   mean of -log softmax(logits)_label
///
/// As scikit-learn's average="macro" with zero_division=0: a class that no row has and none is given is left out, one
/// of the two alone counts 0. Counts are weighted where the options hold weights. Sums are in float64, in the order of
/// the rows. Throws ValueError for unknown metrics, shapes that do not fit, NaN, negative weights and labels that are
/// no class, IndexError for a scene outside the names.
Evaluation evaluate_classes(const torch::Tensor& logits, const torch::Tensor& label, const torch::Tensor& scene,
                            const std::vector<std::string>& scene_names, const ScoreOptions& options);

}  // namespace polyscene::eval
