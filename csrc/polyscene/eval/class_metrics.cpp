#include "polyscene/eval/class_metrics.h"

#include <cmath>

#include "polyscene/data/classes.h"
#include "polyscene/eval/rows.h"

namespace polyscene::eval {
namespace {

// What the metrics need of a set of rows.
struct ClassCounts {
  explicit ClassCounts(int64_t classes)
      : hit(classes), labelled(classes), called(classes), seen(static_cast<size_t>(classes)) {}
  std::vector<double> hit, labelled, called;  // weights by class: rightly called, of that label, called that
  std::vector<char> seen;                     // whether a row has the class or is given it
  double weight = 0, loss = 0;
  int64_t rows = 0;

  void add(int64_t label, int64_t given, double w, double row_loss) {
    hit[label] += label == given ? w : 0;
    labelled[label] += w;
    called[given] += w;
    seen[label] = seen[given] = 1;
    weight += w;
    loss += w * row_loss;
    ++rows;
  }

  Value metric(const std::string& name) const {
    if (rows == 0) return undefined("no rows");
    if (weight == 0) return undefined("no weight");
    if (name == "log_loss") return ratio(loss, weight, "no weight");
    double right = 0, sum = 0, classes = 0;
    for (size_t c = 0; c < hit.size(); ++c) {
      right += hit[c];
      if (!seen[c]) continue;
      const double below = name == "precision" ? called[c] : name == "recall" ? labelled[c] : called[c] + labelled[c];
      sum += below > 0 ? (name == "f1" ? 2 : 1) * hit[c] / below : 0;
      classes += 1;
    }
    return name == "accuracy" ? ratio(right, weight, "no weight") : ratio(sum, classes, "no rows");
  }
};

}  // namespace

Evaluation evaluate_classes(const torch::Tensor& logits, const torch::Tensor& label, const torch::Tensor& scene,
                            const std::vector<std::string>& scene_names, const ScoreOptions& options) {
  const torch::NoGradGuard no_grad;
  const std::string task = data::has_classes(options.task) ? options.task : "text";
  check_metrics(task, options.metrics);
  TORCH_CHECK_VALUE(logits.dim() == 2 && logits.size(1) > 0, "evaluate_classes: logits must be [N, C], got ",
                    logits.sizes());
  const auto n = logits.size(0), classes = logits.size(1);
  for (const auto& [name, column] : {std::pair{"label", label}, std::pair{"scene", scene}}) {
    TORCH_CHECK_VALUE(column.defined() && column.dim() == 1 && column.numel() == n, "evaluate_classes: ", name,
                      " must have one entry a row (", n, "), got ", column.defined() ? column.numel() : 0);
  }
  TORCH_CHECK_VALUE(!options.weight.defined() || (options.weight.dim() == 1 && options.weight.numel() == n),
                    "evaluate_classes: weight must have one entry a row (", n, ")");
  TORCH_CHECK_VALUE(logits.isfinite().all().item<bool>(), "evaluate_classes: a logit is NaN or infinite");
  const auto scores = logits.to(torch::kCPU, torch::kFloat64).contiguous();
  const auto held_label = label.to(torch::kCPU, torch::kFloat64).contiguous();
  const auto held_scene = scene.to(torch::kCPU, torch::kInt64).contiguous();
  const auto held_weight = options.weight.defined() ? options.weight.to(torch::kCPU, torch::kFloat64).contiguous()
                                                    : torch::ones({n}, torch::kFloat64);
  TORCH_CHECK_VALUE(n == 0 || held_weight.min().item<double>() >= 0, "evaluate_classes: weights must be 0 or more");
  const auto given = n == 0 ? torch::empty({0}, torch::kInt64) : scores.argmax(1);
  const auto log_p = scores.log_softmax(1);
  const auto scenes = static_cast<int64_t>(scene_names.size());
  std::vector<ClassCounts> counts(static_cast<size_t>(scenes) + 1, ClassCounts(classes));  // all rows first
  for (int64_t i = 0; i < n; ++i) {
    const double y = held_label.const_data_ptr<double>()[i];
    TORCH_CHECK_VALUE(y >= 0 && y < static_cast<double>(classes) && y == std::floor(y),
                      "evaluate_classes: labels must be whole numbers below ", classes, ", got ", y, " in row ", i);
    const auto s = held_scene.const_data_ptr<int64_t>()[i], c = static_cast<int64_t>(y);
    TORCH_CHECK_INDEX(s >= 0 && s < scenes, "evaluate_classes: row ", i, " is of scene ", s, ", but there are ", scenes,
                      " scenes");
    const double w = held_weight.const_data_ptr<double>()[i];
    const double lost = -log_p.const_data_ptr<double>()[i * classes + c];
    const auto called = given.const_data_ptr<int64_t>()[i];
    counts[0].add(c, called, w, lost);
    counts[s + 1].add(c, called, w, lost);
  }

  Evaluation out;
  out.metrics = options.metrics.empty() ? default_metrics(task, false, false) : options.metrics;
  out.scene_names = scene_names;
  const auto put = [&](std::map<std::string, double>& values, const std::string& path, const std::string& metric,
                       const Value& value) {
    values[metric] = value.value;
    if (!value.defined()) out.undefined[path + "." + metric] = value.reason;
  };
  for (int64_t s = 0; s < scenes; ++s) out.rows[scene_names[s]] = counts[s + 1].rows;
  for (const auto& metric : out.metrics) {
    put(out.overall, "overall", metric, counts[0].metric(metric));
    double sum = 0, defined = 0;
    for (int64_t s = 0; s < scenes; ++s) {
      const auto value = counts[s + 1].metric(metric);
      put(out.scenes[scene_names[s]], "scenes." + scene_names[s], metric, value);
      if (!value.defined()) continue;
      sum += value.value;
      defined += 1;
    }
    put(out.macro, "macro", metric, ratio(sum, defined, "undefined in every scene"));
  }
  return out;
}

}  // namespace polyscene::eval
