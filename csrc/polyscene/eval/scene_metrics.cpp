#include "polyscene/eval/scene_metrics.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/data/classes.h"
#include "polyscene/data/schema.h"
#include "polyscene/eval/metrics.h"
#include "polyscene/eval/rows.h"

namespace polyscene::eval {
namespace {

using torch::Tensor;

// Rows of one scene, or all of them.
struct Part {
  const Rows& rows;
  Tensor user, item;
};

std::vector<Value> measure(const Part& part, const std::vector<std::string>& metrics, double threshold) {
  const auto& rows = part.rows;
  std::vector<Value> out;
  Confusion counts;
  const auto counted = [](const std::string& name) {
    return name == "accuracy" || name == "precision" || name == "recall" || name == "f1";
  };
  if (std::any_of(metrics.begin(), metrics.end(), counted)) counts = confusion(rows, threshold);
  for (const auto& name : metrics) {
    if (rows.count == 0) {
      out.push_back(undefined("no rows"));
    } else if (name == "auc") {
      out.push_back(auc(rows));
    } else if (name == "gauc") {
      out.push_back(part.user.defined() ? gauc(rows, part.user) : undefined("no users"));
    } else if (name == "log_loss") {
      out.push_back(log_loss(rows));
    } else if (name == "accuracy") {
      out.push_back(counts.accuracy());
    } else if (name == "precision") {
      out.push_back(counts.precision());
    } else if (name == "recall") {
      out.push_back(counts.recall());
    } else if (name == "f1") {
      out.push_back(counts.f1());
    } else if (name == "coverage") {
      out.push_back(part.item.defined() ? coverage(rows, part.item, threshold) : undefined("no items"));
    } else if (name == "rmse") {
      out.push_back(rmse(rows));
    } else {
      out.push_back(mae(rows));
    }
  }
  return out;
}

// Rows by scene, in table order within each: positions [N] and where each scene starts [S + 1].
std::pair<Tensor, std::vector<int64_t>> group(const Tensor& scene, int64_t scenes) {
  const auto held = scene.to(torch::kCPU, torch::kInt64).contiguous();
  const auto* codes = held.const_data_ptr<int64_t>();
  std::vector<int64_t> start(scenes + 1, 0);
  for (int64_t i = 0; i < held.numel(); ++i) {
    TORCH_CHECK_INDEX(codes[i] >= 0 && codes[i] < scenes, "evaluate_scores: row ", i, " is of scene ", codes[i],
                      ", but there are ", scenes, " scenes");
    ++start[codes[i] + 1];
  }
  for (int64_t s = 0; s < scenes; ++s) start[s + 1] += start[s];
  auto next = start;
  auto order = torch::empty({held.numel()}, torch::kInt64);
  auto* positions = order.data_ptr<int64_t>();
  for (int64_t i = 0; i < held.numel(); ++i) positions[next[codes[i]]++] = i;
  return {order, start};
}

// Runs body(0), ..., body(count - 1) on all threads; whoever is free takes the next, since scenes differ much in size.
template <typename Body>
void run_all(int64_t count, Body&& body) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), count), 1, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) {
      for (int64_t i = next++; i < count; i = next++) body(i);
    }
  });
}

void check_labels(const Rows& rows) {
  for (int64_t i = 0; i < rows.count; ++i) {
    TORCH_CHECK_VALUE(rows.label[i] == 0 || rows.label[i] == 1, "evaluate_scores: labels must be 0 or 1, got ",
                      rows.label[i], " in row ", i);
  }
}

}  // namespace

std::vector<std::string> known_metrics(const std::string& task) {
  TORCH_CHECK_VALUE(task == "ctr" || task == "rating" || data::has_classes(task),
                    "evaluate_scores: task must be ctr, rating, text or image, got '", task, "'");
  if (task == "rating") return {"rmse", "mae"};
  if (data::has_classes(task)) return {"f1", "accuracy", "precision", "recall", "log_loss"};
  return {"auc", "gauc", "log_loss", "accuracy", "precision", "recall", "f1", "coverage"};
}

std::vector<std::string> default_metrics(const std::string& task, bool users, bool items) {
  auto names = known_metrics(task);
  if (!items) std::erase(names, "coverage");
  if (!users) std::erase(names, "gauc");
  return names;
}

void check_metrics(const std::string& task, const std::vector<std::string>& names) {
  const auto known = known_metrics(task);
  for (const auto& name : names) {
    TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), name) != known.end(), "unknown metric '", name,
                      "' for task ", task, "; known metrics: ", join(known), suggestion(name, known));
  }
}

Evaluation evaluate_scores(const Tensor& logits, const Tensor& label, const Tensor& scene,
                           const std::vector<std::string>& scene_names, const ScoreOptions& options) {
  torch::NoGradGuard no_grad;
  check_metrics(options.task, options.metrics);
  TORCH_CHECK_VALUE(!data::has_classes(options.task), "evaluate_scores: classes are measured by evaluate_classes");
  const Rows rows(logits, label, options.weight);
  if (options.task == "ctr") check_labels(rows);
  TORCH_CHECK_VALUE(scene.defined() && scene.dim() == 1 && scene.numel() == rows.count,
                    "evaluate_scores: scene must have one entry per logit (", rows.count, "), got ",
                    scene.defined() ? scene.numel() : 0);
  auto user = options.user;
  if (user.defined()) check_column("user", user, rows.count);
  if (options.item.defined()) check_column("item", options.item, rows.count);
  if (user.defined()) user = user.masked_fill(user < data::kFirstId, -1);

  Evaluation out;
  out.metrics = options.metrics.empty() ? default_metrics(options.task, options.user.defined(), options.item.defined())
                                        : options.metrics;
  out.scene_names = scene_names;
  const auto scenes = static_cast<int64_t>(scene_names.size());
  const auto [order, start] = group(scene, scenes);
  std::vector<std::vector<Value>> found(scenes + 1);  // all rows first: they take longest
  const auto wants = [&](const char* name) {
    return std::find(out.metrics.begin(), out.metrics.end(), name) != out.metrics.end();
  };
  if (wants("auc") || wants("gauc")) rows.order();
  if (wants("log_loss")) rows.losses();
  const auto parts = rows.split(order, start);
  run_all(scenes + 1, [&, &order = order, &start = start](int64_t i) {
    if (i == 0) {
      found[i] = measure({rows, user, options.item}, out.metrics, options.threshold);
      return;
    }
    const auto mine = order.slice(0, start[i - 1], start[i]);
    const auto of = [&](const Tensor& x) { return x.defined() ? x.index_select(0, mine) : x; };
    found[i] = measure({parts[i - 1], of(user), of(options.item)}, out.metrics, options.threshold);
  });

  const auto put = [&](std::map<std::string, double>& values, const std::string& path, const std::string& metric,
                       const Value& value) {
    values[metric] = value.value;
    if (!value.defined()) out.undefined[path + "." + metric] = value.reason;
  };
  for (int64_t s = 0; s < scenes; ++s) {
    out.rows[scene_names[s]] = start[s + 1] - start[s];
    if (options.task != "ctr") continue;
    const auto* labels = parts[s].label;
    out.positives[scene_names[s]] = std::count_if(labels, labels + parts[s].count, [](double y) { return y > 0.5; });
  }
  for (size_t m = 0; m < out.metrics.size(); ++m) {
    const auto& metric = out.metrics[m];
    put(out.overall, "overall", metric, found[0][m]);
    double sum = 0;
    int64_t defined = 0;
    for (int64_t s = 0; s < scenes; ++s) {
      const auto& value = found[s + 1][m];
      put(out.scenes[scene_names[s]], "scenes." + scene_names[s], metric, value);
      if (!value.defined()) continue;
      sum += value.value;
      ++defined;
    }
    put(out.macro, "macro", metric, ratio(sum, static_cast<double>(defined), "undefined in every scene"));
  }
  return out;
}

}  // namespace polyscene::eval
