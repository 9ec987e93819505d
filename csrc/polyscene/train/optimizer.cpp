#include "polyscene/train/optimizer.h"

#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "polyscene/core/errors.h"
#include "polyscene/core/memory.h"
#include "polyscene/train/coalesce.h"

namespace polyscene::train {
namespace {

using torch::Tensor;

// Names of the moments of a parameter, as they appear in `state`.
constexpr const char* kMean = "exp_avg";
constexpr const char* kSquare = "exp_avg_sq";
constexpr const char* kRowSteps = "row_steps";
constexpr const char* kMomentum = "momentum_buffer";
constexpr const char* kSum = "sum";

bool is_under(const std::string& name, const std::string& prefix) {
  return name == prefix || prefix.empty() ||
         (name.starts_with(prefix) && (prefix.back() == '.' || name[prefix.size()] == '.'));
}

[[noreturn]] void refuse_gradient(const std::string& name, const Tensor& gradient) {
  const auto values = gradient.is_sparse() ? gradient._values() : gradient;
  auto first = values.isfinite().logical_not().view({-1}).nonzero()[0].item<int64_t>();
  if (values.dim() > 0) first /= values.numel() / values.size(0);
  if (gradient.is_sparse()) first = gradient._indices()[0][first].item<int64_t>();
  TORCH_CHECK_VALUE(false, "Optimizer: the gradient of '", name, "' is not finite, first in row ", first,
                    "; lower lr, set clip_norm, or look for bad numbers in the data");
}

}  // namespace

Optimizer::Optimizer(OptimizerOptions options, const NamedTensors& dense, const NamedTensors& tables)
    : options_((options.check(), std::move(options))), row_adam_(options_.betas[0], options_.betas[1], options_.eps) {
  std::set<std::string> seen;
  const bool adam = options_.optimizer != "sgd" && options_.optimizer != "rowwise_adagrad";
  for (const bool table : {false, true}) {
    for (const auto& [name, parameter] : table ? tables : dense) {
      TORCH_CHECK_VALUE(seen.insert(name).second, "Optimizer: parameter '", name, "' is named twice");
      TORCH_CHECK_VALUE(parameter.is_contiguous() && parameter.is_floating_point(), "Optimizer: parameter '", name,
                        "' must be contiguous and of a floating type");
      const bool rows = table && lazy();
      TORCH_CHECK_VALUE(
          !rows || (parameter.device().is_cpu() && parameter.dim() > 0 &&
                    (parameter.scalar_type() == torch::kFloat32 || parameter.scalar_type() == torch::kFloat64)),
          "Optimizer: table '", name, "' must be float32 or float64 on the CPU for ", options_.optimizer, "; use adam");
      Slot slot;
      slot.name = name;
      slot.parameter = parameter;
      slot.table = table;
      slot.steps = torch::zeros({}, torch::kInt64);
      const auto values = parameter.detach();
      if (adam) {
        slot.moments[kMean] = torch::zeros_like(values);
        slot.moments[kSquare] = torch::zeros_like(values);
        if (rows && options_.lazy_steps == "row")
          slot.moments[kRowSteps] = torch::zeros({values.size(0)}, torch::kInt32);
      } else if (options_.optimizer == "rowwise_adagrad") {
        slot.moments[kSum] = rows ? torch::zeros({values.size(0)}, values.options()) : torch::zeros_like(values);
      } else if (options_.momentum > 0) {
        slot.moments[kMomentum] = torch::zeros_like(values);
      }
      if (rows) {
        use_large_pages(parameter.const_data_ptr(), parameter.nbytes());
        for (const auto& [key, moment] : slot.moments) use_large_pages(moment.const_data_ptr(), moment.nbytes());
      }
      slots_.push_back(std::move(slot));
    }
  }
}

bool Optimizer::lazy() const { return options_.optimizer != "adam" && options_.optimizer != "adamw"; }

double Optimizer::lr() const { return options_.lr * phase_scale_ * options_.schedule.factor(step_, total_steps_); }

void Optimizer::zero_grad() {
  for (auto& slot : slots_) slot.parameter.mutable_grad().reset();
}

std::vector<Optimizer::Update> Optimizer::gradients() {
  std::vector<Update> out;
  double squares = 0;
  for (auto& slot : slots_) {
    auto gradient = slot.parameter.grad();
    if (slot.frozen || !gradient.defined()) continue;
    if (gradient.is_sparse()) gradient = coalesced(gradient);
    const auto values = gradient.is_sparse() ? gradient._values() : gradient;
    const double sum = sum_of_squares(values);
    if (!std::isfinite(sum) && !values.isfinite().all().item<bool>()) refuse_gradient(slot.name, gradient);
    squares += sum;
    out.push_back({&slot, gradient});
  }
  gradient_norm_ = std::sqrt(squares);
  return out;
}

void Optimizer::clip(std::vector<Update>& updates) {
  const double scale = options_.clip_norm / (gradient_norm_ + 1e-6);
  if (options_.clip_norm == 0 || scale >= 1) return;
  for (auto& update : updates) {
    auto values = update.gradient.is_sparse() ? update.gradient._values() : update.gradient;
    values.mul_(scale);
  }
}

void Optimizer::step() {
  torch::NoGradGuard no_grad;
  TORCH_CHECK_VALUE(!options_.schedule.needs_total() || total_steps_ > 0, "Optimizer: schedule '",
                    options_.schedule.name, "' needs the number of steps; call set_total_steps first");
  const double rate = lr();
  auto updates = gradients();
  clip(updates);
  std::map<double, std::vector<Update>> dense;  // by learning rate: one fused call each
  for (auto& update : updates) {
    update.slot->steps.add_(1);
    const double scaled = rate * update.slot->lr_scale;
    if (update.slot->table && lazy()) {
      step_table(update, scaled);
    } else {
      dense[scaled].push_back(update);
    }
  }
  for (auto& [scaled, group] : dense) step_dense(group, scaled);
  ++step_;
}

void Optimizer::step_table(const Update& update, double lr) {
  auto& moments = update.slot->moments;
  const auto gradient = row_gradient(update.gradient);
  const RowStep step{lr, options_.weight_decay};
  const auto& weight = update.slot->parameter;
  if (options_.optimizer == "sgd") {
    row_sgd(gradient, step, options_.momentum, weight, options_.momentum > 0 ? moments.at(kMomentum) : Tensor());
  } else if (options_.optimizer == "rowwise_adagrad") {
    row_adagrad(gradient, step, options_.eps, weight, moments.at(kSum));
  } else {
    const auto rows = moments.find(kRowSteps);
    row_adam_(gradient, step, weight, moments.at(kMean), moments.at(kSquare),
              rows == moments.end() ? Tensor() : rows->second, update.slot->steps.item<int64_t>());
  }
}

// Dense optimisers decay the looked-up rows of a table here, and are then told of no decay.
void Optimizer::decay_rows(Update& update, double lr) {
  const auto rows = row_gradient(update.gradient).rows;
  if (update.gradient.is_sparse()) update.gradient = update.gradient.to_dense();
  auto& weight = update.slot->parameter;
  if (options_.optimizer == "adamw") {
    weight.index_copy_(0, rows, weight.index_select(0, rows) * (1 - lr * options_.weight_decay));
  } else {
    update.gradient = update.gradient.index_add(0, rows, weight.index_select(0, rows), options_.weight_decay);
  }
}

void Optimizer::step_dense(std::vector<Update>& updates, double lr) {
  // Fused kernels take one type, and one weight decay, a call.
  std::map<std::pair<int, bool>, std::vector<Update*>> groups;
  for (auto& update : updates) {
    const bool rows = update.slot->table && options_.weight_decay > 0;
    if (rows) decay_rows(update, lr);
    if (update.gradient.is_sparse()) update.gradient = update.gradient.to_dense();
    groups[{static_cast<int>(update.slot->parameter.scalar_type()), rows}].push_back(&update);
  }
  const double beta1 = options_.betas[0], beta2 = options_.betas[1], eps = options_.eps;
  for (auto& [key, group] : groups) {
    std::vector<Tensor> weights, gradients, first, second, steps;
    for (auto* update : group) {
      auto& slot = *update->slot;
      weights.push_back(slot.parameter);
      gradients.push_back(update->gradient);
      steps.push_back(slot.steps.to(torch::kFloat32));
      if (slot.moments.contains(kMean)) first.push_back(slot.moments[kMean]);
      if (slot.moments.contains(kSquare)) second.push_back(slot.moments[kSquare]);
      if (slot.moments.contains(kSum)) first.push_back(slot.moments[kSum]);
      if (slot.moments.contains(kMomentum)) first.push_back(slot.moments[kMomentum]);
    }
    const double decay = key.second ? 0 : options_.weight_decay;
    if (options_.optimizer == "sgd") {
      // A buffer of zeros makes every step the general one.
      at::_fused_sgd_(weights, gradients, first, decay, options_.momentum, lr, 0, false, false, false);
    } else if (options_.optimizer == "rowwise_adagrad") {
      at::_fused_adagrad_(weights, gradients, first, steps, lr, 0, decay, eps, false);
    } else if (options_.optimizer == "adamw") {
      at::_fused_adamw_(weights, gradients, first, second, {}, steps, lr, beta1, beta2, decay, eps, false, false);
    } else {
      at::_fused_adam_(weights, gradients, first, second, {}, steps, lr, beta1, beta2, decay, eps, false, false);
    }
    for (const auto& weight : weights) torch::autograd::impl::bump_version(weight);  // these operators do not
  }
}

std::vector<Optimizer::Slot*> Optimizer::under(const std::string& prefix) {
  std::vector<Slot*> out;
  std::vector<std::string> names;
  for (auto& slot : slots_) {
    names.push_back(slot.name);
    if (is_under(slot.name, prefix)) out.push_back(&slot);
  }
  TORCH_CHECK_VALUE(!out.empty(), "Optimizer: no parameter is named '", prefix,
                    "' or lies under it; parameters: ", join(names), suggestion(prefix, names));
  return out;
}

void Optimizer::set_phase(const std::vector<std::string>& frozen, double lr_scale) {
  TORCH_CHECK_VALUE(lr_scale > 0 && std::isfinite(lr_scale), "Optimizer: lr_scale must be positive, got ", lr_scale);
  std::set<Slot*> still;
  for (const auto& prefix : frozen) {
    for (auto* slot : under(prefix)) still.insert(slot);
  }
  for (auto& slot : slots_) slot.frozen = still.contains(&slot);
  phase_scale_ = lr_scale;
}

void Optimizer::set_lr_scale(const std::string& prefix, double scale) {
  TORCH_CHECK_VALUE(scale > 0 && std::isfinite(scale), "Optimizer: the lr scale of '", prefix,
                    "' must be positive, got ", scale);
  for (auto* slot : under(prefix)) slot->lr_scale = scale;
}

std::map<std::string, Tensor> Optimizer::state() const {
  std::map<std::string, Tensor> out;
  out["step"] = torch::tensor(step_, torch::kInt64);
  for (const auto& slot : slots_) {
    out[slot.name + ".step"] = slot.steps;
    for (const auto& [name, moment] : slot.moments) out[slot.name + "." + name] = moment;
  }
  return out;
}

void Optimizer::load(const std::map<std::string, Tensor>& state) {
  torch::NoGradGuard no_grad;
  const auto own = this->state();
  for (const auto& [name, value] : own) {
    const auto found = state.find(name);
    TORCH_CHECK_VALUE(found != state.end(), "Optimizer: the state has no '", name,
                      "'; was it saved by another optimizer?");
    TORCH_CHECK_VALUE(found->second.sizes() == value.sizes() && found->second.scalar_type() == value.scalar_type(),
                      "Optimizer: state '", name, "' must be ", value.scalar_type(), " ", value.sizes(), ", got ",
                      found->second.scalar_type(), " ", found->second.sizes());
  }
  for (const auto& [name, value] : state) {
    TORCH_CHECK_VALUE(own.contains(name), "Optimizer: unknown state '", name, "'; was it saved by another optimizer?");
  }
  for (const auto& [name, value] : own) value.copy_(state.at(name));
  step_ = state.at("step").item<int64_t>();
}

}  // namespace polyscene::train
