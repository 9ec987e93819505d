#pragma once

#include <string>
#include <vector>

#include "polyscene/core/options.h"

namespace polyscene::train {

/// Options of `evaluate` in a config.
struct EvaluateOptions {
  TORCH_ARG(std::vector<std::string>, metrics) = {};
  TORCH_ARG(std::vector<int64_t>, k) = {10};
  TORCH_ARG(std::string, candidates) = "all";
  TORCH_ARG(double, threshold) = 0.5;
  TORCH_ARG(bool, tune_threshold) = false;
  TORCH_ARG(std::string, unseen_scene) = "";
  TORCH_ARG(bool, exclude_seen) = true;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("metrics", self.metrics(), "metrics to report; empty: all of the task");
    visit("k", self.k(), "cut-offs of ranking metrics");
    visit("candidates", self.candidates(), "'all' items, or a number of sampled negatives");
    visit("threshold", self.threshold(), "probability from which a row counts as positive, in (0, 1)");
    visit("tune_threshold", self.tune_threshold(), "take the threshold with the best F1 on validation rows");
    visit("unseen_scene", self.unseen_scene(),
          "scene whose test rows also a model without its training rows is measured on; empty: none");
    visit("exclude_seen", self.exclude_seen(),
          "of sequences: leave out the items of a row's own history; false where items come again");
  }
};

/// Checks a whole config against the option field lists and fills in every default.
///
/// `text` is JSON that may hold comments, `source` the file it came from (for messages), `overrides` are "a.b=value"
/// (value JSON, else text), applied first. Returns the resolved config as JSON text. Throws ValueError "FILE:
/// model.experts must be int, got 'four' (str)" or "FILE: unknown key 'modle'; known keys: ...".
std::string resolve_config(const std::string& text, const std::string& source,
                           const std::vector<std::string>& overrides);

/// The fields of one section, for `--help` and the documentation: "train", "evaluate", "split", "scenes", "label",
/// "transfer", "report", "simulator".
std::vector<OptionField> section_fields(const std::string& section);

}  // namespace polyscene::train
