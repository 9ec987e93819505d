#include "polyscene/transfer/fisher.h"

#include <algorithm>

#include "polyscene/core/random.h"
#include "polyscene/data/batches.h"
#include "polyscene/data/classes.h"
#include "polyscene/models/sequence_model.h"
#include "polyscene/transfer/tables.h"

namespace polyscene::transfer {
namespace {

// Evaluation mode while it lives; the gradients are dropped at the end.
class Evaluating {
 public:
  explicit Evaluating(models::Model& model) : model_(model), training_(model.is_training()) { model_.eval(); }
  ~Evaluating() {
    model_.train(training_);
    model_.zero_grad();
  }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  models::Model& model_;
  bool training_;
};

torch::Tensor draw_labels(const torch::Tensor& out, const std::string& task, const RandomStream& stream) {
  auto labels = torch::empty({out.size(0)}, torch::kFloat32);
  if (data::has_classes(task) ||
      task == "sequence") {  // the first class whose cumulative probability passes a uniform number
    const auto sums = out.detach().to(torch::kFloat64).softmax(1).cumsum(1).contiguous();  // [B, C]
    for (int64_t i = 0; i < out.size(0); ++i) {
      const auto* row = sums.const_data_ptr<double>() + i * sums.size(1);
      const auto at = std::upper_bound(row, row + sums.size(1), stream.uniform(i)) - row;
      labels.data_ptr<float>()[i] = static_cast<float>(std::min<int64_t>(at, sums.size(1) - 1));
    }
    return labels;
  }
  const auto values = out.detach().to(torch::kFloat64).contiguous();
  for (int64_t i = 0; i < out.size(0); ++i) {
    const auto value = values.const_data_ptr<double>()[i];
    labels.data_ptr<float>()[i] = static_cast<float>(
        task == "rating" ? value + stream.normal(i) : (stream.uniform(i) < 1 / (1 + std::exp(-value)) ? 1.0 : 0.0));
  }
  return labels;
}

void count(torch::Tensor& into, const torch::Tensor& rows, int64_t offset) {
  if (rows.numel() == 0) return;
  into += torch::bincount(rows.flatten().to(torch::kInt64) + offset, {}, into.numel());
}

}  // namespace

State fisher(models::Model& model, const data::Table& table, const FisherOptions& options) {
  TORCH_CHECK_VALUE(options.batches() > 0 && options.batch_size() > 0,
                    "fisher: batches and batch_size must be positive, got ", options.batches(), " and ",
                    options.batch_size());
  TORCH_CHECK_VALUE(table.size() > 0, "fisher: the table has no rows");
  const auto& task = model.schema().task;
  TORCH_CHECK_VALUE(
      task == "ctr" || task == "ranking" || task == "rating" || task == "sequence" || data::has_classes(task),
      "fisher: there are no probabilities for task '", task, "'");
  const Evaluating mode(model);
  State out;
  for (const auto& entry : model.named_parameters()) out[entry.key()] = torch::zeros_like(entry.value());
  const auto order = torch::tensor(permutation(table.size(), {static_cast<uint64_t>(options.seed()), "fisher rows"}));
  const auto size = std::min(options.batch_size(), table.size());
  const auto batches = std::min(options.batches(), table.size() / size);
  for (int64_t b = 0; b < batches; ++b) {
    auto batch = table.batch(order.slice(0, b * size, (b + 1) * size), /*grouped=*/true, models::events_read(model));
    model.zero_grad();
    const auto logits = model.forward(batch);
    batch.label =
        draw_labels(logits, task, {static_cast<uint64_t>(options.seed()), "fisher labels", static_cast<uint64_t>(b)});
    batch.weight = torch::Tensor();
    if (task == "sequence") {
      torch::nll_loss(logits.log_softmax(1), batch.label.to(torch::kInt64)).backward();
    } else {
      // Half the squared error is the negative log density of a normal with variance 1.
      (model.task_loss(logits, batch) * (task == "rating" ? 0.5 : 1.0)).backward();
    }
    for (const auto& entry : model.named_parameters()) {
      const auto& gradient = entry.value().grad();
      if (!gradient.defined()) continue;
      const auto dense = gradient.is_sparse() ? gradient.to_dense() : gradient;
      out[entry.key()] += dense.square() * (static_cast<double>(size) / static_cast<double>(batches));
    }
  }
  return out;
}

State lookups(const models::Model& model, const data::Table& train) {
  const auto found = layouts(model);
  const auto& schema = model.schema();
  State out;
  for (const auto& table : found) {
    if (table.fields.empty()) continue;
    const auto& last = table.fields.back();
    out[table.parameter] = torch::zeros({last.offset + last.rows}, torch::kInt64);
  }
  if (out.empty() || train.size() == 0) return out;
  data::Batches batches(train, 8'192, /*shuffle=*/false, 0, 0, models::events_read(model));
  while (const auto batch = batches.next()) {
    for (const auto& table : found) {
      for (const auto& range : table.fields) {
        auto& rows = out[table.parameter];
        if (range.list) {
          count(rows, batch->sequence.at(range.field).values, range.offset);
          continue;
        }
        const auto field = schema.field(range.field);
        count(rows, batch->categorical.select(1, field), range.offset);
        if (field == schema.item && batch->history.defined()) count(rows, batch->history.item, range.offset);
        for (const auto& list : schema.lists) {
          if (list.shares == range.field) count(rows, batch->sequence.at(list.name).values, range.offset);
        }
      }
    }
  }
  return out;
}

}  // namespace polyscene::transfer
