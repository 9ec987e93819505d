#include "polyscene/transfer/statistics.h"

#include "polyscene/core/named_tensors.h"
#include "polyscene/data/batches.h"
#include "polyscene/models/sequence_model.h"

namespace polyscene::transfer {

int64_t recompute_statistics(models::Model& model, const data::Table& table, const StatisticsOptions& options) {
  TORCH_CHECK_VALUE(options.batch_size() > 1, "recompute_statistics: batch_size must be at least 2, got ",
                    options.batch_size());
  TORCH_CHECK_VALUE(options.momentum() > 0 && options.momentum() <= 1,
                    "recompute_statistics: momentum must lie in (0, 1], got ", options.momentum());
  TORCH_CHECK_VALUE(table.size() > 0, "recompute_statistics: the table has no rows");
  struct Statistic {
    torch::Tensor buffer, before, sum, batches;  // the last [..., 1]: in how many batches each vector was seen
  };
  std::vector<Statistic> found;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> others;
  for (const auto& item : named_tensors(model)) {
    if (!item.is_buffer) continue;
    const auto leaf = item.name.substr(item.name.rfind('.') + 1);
    if (!leaf.ends_with("running_mean") && !leaf.ends_with("running_var")) {
      others.emplace_back(item.tensor, item.tensor.detach().clone());
      continue;
    }
    const auto sum = torch::zeros_like(item.tensor, torch::kFloat64);
    found.push_back(
        {item.tensor, item.tensor.detach().clone(), sum, torch::zeros_like(sum.select(-1, 0).unsqueeze(-1))});
  }
  if (found.empty()) return 0;
  const torch::NoGradGuard no_grad;
  const bool training = model.is_training();
  model.train();
  data::Batches batches(table, std::min(options.batch_size(), table.size()), /*shuffle=*/true, 0, 1,
                        models::events_read(model));
  while (const auto batch = batches.next()) {
    // From 0 a batch leaves momentum times its own statistics.
    for (auto& each : found) each.buffer.zero_();
    model.forward(*batch);
    for (auto& each : found) {
      each.sum += each.buffer.to(torch::kFloat64) / options.momentum();
      each.batches += each.buffer.ne(0).any(-1, /*keepdim=*/true).to(torch::kFloat64);
    }
  }
  for (auto& each : found) {
    const auto mean = (each.sum / each.batches.clamp_min(1)).to(each.before.scalar_type());
    each.buffer.copy_(torch::where(each.batches > 0, mean, each.before));
  }
  for (auto& [buffer, before] : others) buffer.copy_(before);
  model.train(training);
  return static_cast<int64_t>(found.size());
}

}  // namespace polyscene::transfer
