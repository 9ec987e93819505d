#include "polyscene/transfer/balanced.h"

#include <algorithm>

#include "polyscene/core/errors.h"
#include "polyscene/core/named_tensors.h"
#include "polyscene/core/random.h"
#include "polyscene/transfer/given_gradient.h"

namespace polyscene::transfer {
namespace {

constexpr double kMostVariance = 5;  // of the logarithm: a loss that reaches 0 would draw it to minus infinity
const std::vector<std::string> kBalances = {"uncertainty", "pcgrad"};

// Whether the gradients of the scenes lie in slices of their own, one for each scene.
bool by_scene(const std::vector<torch::Tensor>& gradients, const std::vector<int64_t>& scenes, int64_t count) {
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!gradients[i].defined()) continue;
    if (gradients[i].dim() == 0 || gradients[i].size(0) != count) return false;
    const auto all = gradients[i].count_nonzero().item<int64_t>();
    if (gradients[i].select(0, scenes[i]).count_nonzero().item<int64_t>() != all) return false;
  }
  return true;
}

}  // namespace

Balanced::Balanced(std::shared_ptr<models::Model> inner, BalancedOptions options_)
    : Wrapped(std::move(inner)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(std::find(kBalances.begin(), kBalances.end(), options.kind()) != kBalances.end(),
                    "Balanced: kind must be one of ", join(kBalances), ", got '", options.kind(), "'",
                    suggestion(options.kind(), kBalances));
  TORCH_CHECK_VALUE(options.seed() >= 0, "Balanced: seed must not be negative, got ", options.seed());
  models::check_prefixes("Balanced", "shared", options.shared(), parameter_names());
  TORCH_CHECK_VALUE(schema().num_scenes() > 1, "Balanced: there must be several scenes, the data has ",
                    schema().num_scenes());
  steps = register_buffer("balanced_steps", torch::zeros({}, torch::kInt64));
  if (options.kind() == "uncertainty")
    log_variance = register_parameter("balanced_log_variance", torch::zeros({schema().num_scenes()}));
}

std::vector<Balanced::Task> Balanced::tasks(const data::Batch& batch) {
  std::vector<Task> out;
  double sum = 0;
  for (int64_t scene = 0; scene < schema().num_scenes(); ++scene) {
    const auto rows = batch.scene.eq(scene).nonzero().squeeze(1);
    if (rows.numel() == 0) continue;
    const auto part = rows.numel() == batch.size() ? batch : batch.take(rows);
    const double weight = part.weight.defined() ? part.weight.sum().item<double>() : static_cast<double>(rows.numel());
    out.push_back({scene, weight, inner_->loss(part)});
    sum += weight;
  }
  for (auto& task : out) task.share /= std::max(sum, 1e-12);
  return out;
}

torch::Tensor Balanced::projected(const std::vector<Task>& tasks) {
  std::vector<std::string> names;
  std::vector<torch::Tensor> parameters;
  for (const auto& item : named_tensors(*inner_)) {
    if (item.is_buffer || !item.tensor.requires_grad()) continue;
    names.push_back(item.name);
    parameters.push_back(item.tensor);
  }
  const auto count = parameters.size();
  std::vector<std::vector<torch::Tensor>> found;  // by task
  std::vector<int64_t> scenes;
  auto value = torch::zeros({}, tasks.front().loss.options().requires_grad(false));
  for (const auto& task : tasks) {
    const auto loss = task.share * task.loss;
    value += loss.detach();
    scenes.push_back(task.scene);
    found.push_back(torch::autograd::grad({loss}, parameters, {}, /*retain_graph=*/c10::nullopt,
                                          /*create_graph=*/false, /*allow_unused=*/true));
  }
  const auto tables = inner_->table_parameters();
  std::vector<torch::Tensor> out(count);
  std::vector<size_t> shared;
  for (size_t p = 0; p < count; ++p) {
    std::vector<torch::Tensor> mine;
    for (const auto& of_task : found) mine.push_back(of_task[p]);
    const auto named = [&](const auto& prefix) { return models::is_below(names[p], prefix); };
    const bool table = std::find(tables.begin(), tables.end(), names[p]) != tables.end();
    const bool chosen = options.shared().empty() ? !table && !by_scene(mine, scenes, schema().num_scenes())
                                                 : std::any_of(options.shared().begin(), options.shared().end(), named);
    for (const auto& gradient : mine) {
      if (gradient.defined()) out[p] = out[p].defined() ? out[p] + gradient : gradient;
    }
    if (chosen && out[p].defined()) shared.push_back(p);
  }
  std::vector<torch::Tensor> flat;
  std::vector<std::vector<int64_t>> orders;
  const auto number = static_cast<uint64_t>(steps.item<int64_t>());
  for (size_t i = 0; i < tasks.size(); ++i) {
    std::vector<torch::Tensor> parts;
    for (const auto p : shared) {
      const auto& gradient = found[i][p];
      parts.push_back(!gradient.defined()    ? torch::zeros_like(parameters[p]).flatten()
                      : gradient.is_sparse() ? gradient.to_dense().flatten()
                                             : gradient.flatten());
    }
    flat.push_back(parts.empty() ? torch::zeros({0}) : torch::cat(parts));
    const RandomStream stream(static_cast<uint64_t>(options.seed()), "pcgrad order", number * tasks.size() + i);
    orders.emplace_back();
    for (const auto j : permutation(static_cast<int64_t>(tasks.size()), stream)) {
      if (j != static_cast<int64_t>(i)) orders.back().push_back(j);
    }
  }
  const auto kept = project_conflicts(flat, orders);
  auto sum = torch::zeros_like(kept.front());
  for (const auto& each : kept) sum += each;
  int64_t begin = 0;
  for (const auto p : shared) {
    out[p] = sum.narrow(0, begin, parameters[p].numel()).view(parameters[p].sizes()).clone();
    begin += parameters[p].numel();
  }
  return with_gradient(value, parameters, out);
}

torch::Tensor Balanced::loss(const data::Batch& batch) {
  check(batch);
  const auto all = tasks(batch);
  if (all.empty()) return inner_->loss(batch);
  if (options.kind() == "pcgrad") {
    if (torch::GradMode::is_enabled()) {
      const auto out = projected(all);
      if (is_training()) steps.add_(1);
      return out;
    }
    auto out = torch::zeros({}, all.front().loss.options());
    for (const auto& task : all) out = out + task.share * task.loss;
    return out;
  }
  torch::Tensor out;
  for (const auto& task : all) {
    const auto t = log_variance[task.scene].clamp(-kMostVariance, kMostVariance);
    const auto regularised = schema().task == "rating" ? t : 0.5 * t;
    const auto part = task.share * ((-t).exp() * task.loss + regularised);
    out = out.defined() ? out + part : part;
  }
  return out;
}

}  // namespace polyscene::transfer
