#include "polyscene/transfer/fusion.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"

namespace polyscene::transfer {
namespace {

void check_numbers(const torch::Tensor& numbers, const char* what, const std::string& name, size_t model) {
  TORCH_CHECK_VALUE(torch::isfinite(numbers).all().item<bool>() && numbers.ge(0).all().item<bool>(), "fuse: ", what,
                    " of '", name, "' in model ", model, " must be finite and not negative");
}

void check_states(const State& initial, const std::vector<Migrated>& models) {
  TORCH_CHECK_VALUE(!models.empty(), "fuse: there must be a model, got none");
  for (size_t i = 0; i < models.size(); ++i) {
    const auto& model = models[i];
    TORCH_CHECK_VALUE(std::isfinite(model.weight) && model.weight >= 0, "fuse: the weight of model ", i,
                      " must be finite and not negative, got ", model.weight);
    for (const auto& [name, tensor] : model.state) {
      const auto found = initial.find(name);
      TORCH_CHECK_VALUE(found != initial.end(), "fuse: model ", i, " has '", name, "', which the initial state lacks");
      TORCH_CHECK_VALUE(tensor.sizes() == found->second.sizes() && tensor.dtype() == found->second.dtype(), "fuse: '",
                        name, "' is ", found->second.dtype(), " ", found->second.sizes(), " in the initial state, but ",
                        tensor.dtype(), " ", tensor.sizes(), " in model ", i);
    }
    for (const auto& entry : initial) {
      TORCH_CHECK_VALUE(model.state.count(entry.first), "fuse: model ", i, " lacks '", entry.first, "'");
    }
  }
  const bool any = std::any_of(models.begin(), models.end(), [](const auto& model) { return model.weight > 0; });
  TORCH_CHECK_VALUE(any, "fuse: a weight must be positive, got ", models.size(), " that are 0");
}

// 1 / the L2 norm of a model's importance over all its entries; 0 when there is none.
double inverse_norm(const Migrated& model) {
  double square = 0;
  for (const auto& entry : model.importance) square += entry.second.to(torch::kFloat64).square().sum().item<double>();
  return square > 0 ? 1 / std::sqrt(square) : 0;
}

// How much each row of a table counts in a model, [V, 1, ...].
torch::Tensor row_shares(const std::string& name, const torch::Tensor& initial, const Migrated& model, size_t number) {
  const auto& table = model.state.at(name);
  torch::Tensor share;
  if (const auto given = model.rows.find(name); given != model.rows.end()) {
    share = given->second.to(torch::kFloat64);
    TORCH_CHECK_VALUE(share.dim() == 1 && share.size(0) == table.size(0), "fuse: rows of '", name, "' in model ",
                      number, " must be [", table.size(0), "], got ", share.sizes());
    check_numbers(share, "rows", name, number);
  } else {
    share = table.ne(initial).reshape({table.size(0), table.numel() / table.size(0)}).any(1).to(torch::kFloat64);
  }
  std::vector<int64_t> shape(table.dim(), 1);
  shape[0] = table.size(0);
  return share.view(shape);
}

// theta_1 + sum_i s_i (theta_i - theta_1) / sum_i s_i, so that equal models give exactly themselves; `otherwise` where
// all shares are 0.
torch::Tensor mean(const std::vector<torch::Tensor>& values, const std::vector<torch::Tensor>& shares,
                   const torch::Tensor& otherwise) {
  const auto& first = values.front();
  auto moved = torch::zeros_like(first), total = torch::zeros_like(first);
  for (size_t i = 0; i < values.size(); ++i) {
    moved += shares[i] * (values[i] - first);
    total += shares[i];
  }
  return torch::where(total > 0, first + moved / total.clamp_min(1e-300), otherwise);
}

}  // namespace

State fuse(const State& initial, const std::vector<Migrated>& models, const std::vector<std::string>& tables) {
  const torch::NoGradGuard no_grad;
  check_states(initial, models);
  for (const auto& name : tables) {
    TORCH_CHECK_VALUE(initial.count(name), "fuse: a table is named '", name, "', which the initial state lacks");
  }
  std::vector<double> scale;
  for (const auto& model : models) scale.push_back(inverse_norm(model));
  const bool weighted = std::any_of(models.begin(), models.end(), [](const auto& m) { return !m.importance.empty(); });

  State out;
  for (const auto& [name, start] : initial) {
    if (!start.is_floating_point()) {
      out[name] = models.front().state.at(name).clone();
      continue;
    }
    const bool table =
        start.dim() > 0 && start.numel() > 0 && std::find(tables.begin(), tables.end(), name) != tables.end();
    std::vector<torch::Tensor> values, shares, important;
    for (size_t i = 0; i < models.size(); ++i) {
      const auto& model = models[i];
      values.push_back(model.state.at(name).to(torch::kFloat64));
      auto share = torch::full({}, model.weight, torch::kFloat64);
      if (table) share = share * row_shares(name, start, model, i);
      shares.push_back(share);
      if (!weighted) continue;
      const auto found = model.importance.find(name);
      if (found == model.importance.end()) {
        important.push_back(torch::zeros({}, torch::kFloat64));
        continue;
      }
      TORCH_CHECK_VALUE(found->second.sizes() == start.sizes(), "fuse: importance of '", name, "' in model ", i,
                        " must be ", start.sizes(), ", got ", found->second.sizes());
      check_numbers(found->second, "importance", name, i);
      important.push_back(share * found->second.to(torch::kFloat64) * scale[i]);
    }
    auto fused = mean(values, shares, start.to(torch::kFloat64));
    if (weighted) fused = mean(values, important, fused);
    out[name] = fused.to(start.scalar_type());
  }
  return out;
}

State add_tasks(const State& initial, const std::vector<State>& models, const std::vector<double>& weights) {
  const torch::NoGradGuard no_grad;
  TORCH_CHECK_VALUE(models.size() == weights.size(), "add_tasks: there must be a weight for each of ", models.size(),
                    " models, got ", weights.size());
  std::vector<Migrated> given;
  for (const auto& state : models) given.push_back({state});
  check_states(initial, given);
  for (const auto weight : weights)
    TORCH_CHECK_VALUE(std::isfinite(weight), "add_tasks: weights must be finite, got ", weight);
  State out;
  for (const auto& [name, start] : initial) {
    if (!start.is_floating_point()) {
      out[name] = models.front().at(name).clone();
      continue;
    }
    const auto from = start.to(torch::kFloat64);
    auto sum = from.clone();
    for (size_t i = 0; i < models.size(); ++i) sum += weights[i] * (models[i].at(name).to(torch::kFloat64) - from);
    out[name] = sum.to(start.scalar_type());
  }
  return out;
}

}  // namespace polyscene::transfer
