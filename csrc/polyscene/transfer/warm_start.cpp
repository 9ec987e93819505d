#include "polyscene/transfer/warm_start.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "polyscene/core/errors.h"
#include "polyscene/core/named_tensors.h"
#include "polyscene/core/random.h"
#include "polyscene/data/negatives.h"
#include "polyscene/models/sequence_model.h"
#include "polyscene/models/wrapped.h"

namespace polyscene::transfer {
namespace {

const std::vector<std::string> kStarts = {"reptile", "fomaml"};

struct Halves {
  torch::Tensor support, query, all;  // positions, int64
};

Halves halves_of(const data::Table& table, uint64_t seed) {
  const auto n = table.size();
  auto order = torch::tensor(permutation(n, {seed, "warm start halves"}));
  if (const auto times = table.times(); times.defined())
    order = order.index_select(0, std::get<1>(times.index_select(0, order).sort(/*stable=*/true, 0, false)));
  const auto half = (n + 1) / 2;
  return {order.narrow(0, 0, half), order.narrow(0, half, n - half), order};
}

// Without what a graph keeps of one step to the next.
void drop_gradients(models::Model& model) {
  for (auto& parameter : model.parameters()) parameter.mutable_grad() = torch::Tensor();
}

}  // namespace

std::vector<double> warm_start(models::Model& model, const std::vector<data::Table>& tasks,
                               const WarmStartOptions& options) {
  TORCH_CHECK_VALUE(std::find(kStarts.begin(), kStarts.end(), options.kind()) != kStarts.end(),
                    "warm_start: kind must be one of ", join(kStarts), ", got '", options.kind(), "'",
                    suggestion(options.kind(), kStarts));
  TORCH_CHECK_VALUE(options.rounds() > 0 && options.inner_steps() > 0 && options.rows() > 0,
                    "warm_start: rounds, inner_steps and rows must be positive, got ", options.rounds(), ", ",
                    options.inner_steps(), " and ", options.rows());
  TORCH_CHECK_VALUE(options.inner_lr() > 0 && options.outer_lr() > 0,
                    "warm_start: inner_lr and outer_lr must be positive, got ", options.inner_lr(), " and ",
                    options.outer_lr());
  TORCH_CHECK_VALUE(!tasks.empty(), "warm_start: there must be a task, got none");
  std::optional<data::Negatives> negatives;
  if (const auto sampling = model.sampling(); sampling.negatives > 0) {
    const auto history = tasks.front().history() ? tasks.front().history() : model.history();
    TORCH_CHECK_VALUE(history && history->keeps_events(), "warm_start: ", model.name(),
                      " draws negatives, and nobody's events are known; call prepare(data.train)");
    negatives.emplace(history->interactions(), sampling);
  }
  const bool meta = options.kind() == "fomaml";
  TORCH_CHECK_VALUE(meta || options.outer_only().empty(),
                    "warm_start: outer_only is for fomaml; reptile moves what its tasks move");
  const auto seed = static_cast<uint64_t>(options.seed());
  std::vector<Halves> halves;
  for (size_t i = 0; i < tasks.size(); ++i) {
    TORCH_CHECK_VALUE(tasks[i].size() > 1, "warm_start: a task must have two rows, task ", i, " has ", tasks[i].size());
    halves.push_back(halves_of(tasks[i], seed));
  }
  std::vector<std::string> names;
  std::vector<torch::Tensor> moving, inner;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> start, buffers;
  for (const auto& item : named_tensors(model)) {
    if (item.is_buffer) {
      buffers.emplace_back(item.tensor, item.tensor.detach().clone());
      continue;
    }
    names.push_back(item.name);
    if (!item.tensor.requires_grad()) continue;
    moving.push_back(item.tensor);
    start.emplace_back(item.tensor, torch::Tensor());
    const auto held = [&](const auto& prefix) { return models::is_below(item.name, prefix); };
    if (std::none_of(options.outer_only().begin(), options.outer_only().end(), held)) inner.push_back(item.tensor);
  }
  models::check_prefixes("warm_start", "outer_only", options.outer_only(), names);

  const bool training = model.is_training();
  model.train();
  torch::optim::Adam adam(moving, torch::optim::AdamOptions(options.outer_lr()));
  const auto draw = [&](size_t task, const torch::Tensor& from, uint64_t number) {
    const RandomStream stream(seed, "warm start rows", number);
    const auto count = std::min(options.rows(), from.numel());
    auto positions = torch::empty({count}, torch::kInt64);
    for (int64_t i = 0; i < count; ++i)
      positions.data_ptr<int64_t>()[i] = from.const_data_ptr<int64_t>()[stream.below(from.numel(), i)];
    auto batch = tasks[task].batch(positions, /*grouped=*/true, models::events_read(model));
    if (!negatives) return batch;
    const RandomStream beside(seed, "warm start negatives", number);
    (batch.next_item.defined() ? batch.next_negative : batch.negative) =
        batch.next_item.defined() ? negatives->draw_next(batch, beside) : negatives->draw(batch, beside);
    return batch;
  };
  std::vector<double> history;
  uint64_t number = 0;
  for (int64_t round = 0; round < options.rounds(); ++round) {
    for (auto& [parameter, value] : start) value = parameter.detach().clone();
    std::vector<torch::Tensor> sum(moving.size());
    double lost = 0;
    for (size_t task = 0; task < tasks.size(); ++task) {
      const auto& rows = halves[task];
      for (int64_t step = 0; step < options.inner_steps(); ++step) {
        const auto loss = model.loss(draw(task, meta ? rows.support : rows.all, number++));
        drop_gradients(model);
        loss.backward();
        if (!meta && step + 1 == options.inner_steps()) lost += loss.item<double>();
        const torch::NoGradGuard no_grad;
        for (auto& parameter : inner) {
          if (parameter.grad().defined()) parameter.add_(parameter.grad(), -options.inner_lr());
        }
      }
      drop_gradients(model);
      if (meta) {
        const auto loss = model.loss(draw(task, rows.query, number++));
        loss.backward();
        lost += loss.item<double>();
      }
      const torch::NoGradGuard no_grad;
      for (size_t p = 0; p < moving.size(); ++p) {
        auto part = meta ? moving[p].grad() : moving[p] - start[p].second;
        if (part.defined() && part.is_sparse()) part = part.to_dense();
        if (part.defined()) sum[p] = sum[p].defined() ? sum[p] + part : part.clone();
        moving[p].copy_(start[p].second);
      }
      for (auto& [buffer, value] : buffers) buffer.copy_(value);
    }
    const double share = 1.0 / static_cast<double>(tasks.size());
    drop_gradients(model);
    const torch::NoGradGuard no_grad;
    for (size_t p = 0; p < moving.size(); ++p) {
      if (!sum[p].defined()) continue;
      if (meta) {
        moving[p].mutable_grad() = sum[p] * share;
      } else {
        moving[p].add_(sum[p], share * options.outer_lr());
      }
    }
    if (meta) adam.step();
    drop_gradients(model);
    history.push_back(lost * share);
    TORCH_CHECK(std::isfinite(history.back()), "warm_start: the loss became ",
                std::isnan(history.back()) ? "nan" : "infinite", " in round ", round + 1,
                "; a smaller inner_lr or outer_lr may help");
  }
  model.train(training);
  return history;
}

}  // namespace polyscene::transfer
