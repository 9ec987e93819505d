#include "polyscene/transfer/drawn.h"

#include <algorithm>

#include "polyscene/models/sequence_model.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/scene_groups.h"

namespace polyscene::transfer {

Drawn::Drawn(const char* owner, const models::Model& model, data::Table table, int64_t rows, int64_t seed)
    : table_(std::move(table)), history_(models::events_read(model)), seed_(static_cast<uint64_t>(seed)) {
  TORCH_CHECK_VALUE(rows > 0, owner, ": rows must be positive, got ", rows);
  TORCH_CHECK_VALUE(seed >= 0, owner, ": seed must not be negative, got ", seed);
  TORCH_CHECK_VALUE(table_.size() > 0, owner, ": the table has no rows");
  TORCH_CHECK_VALUE(table_.schema().digest() == model.schema().digest(), owner,
                    ": the table belongs to another schema than the model");
  const auto scene = table_.scenes();
  for (int64_t s = 0; s < model.schema().num_scenes(); ++s) {
    auto found = scene.eq(s).nonzero().squeeze(1);
    if (found.numel() == 0) continue;
    scenes_.push_back(s);
    rows_.push_back(found);
  }
  each_ = std::max<int64_t>(rows / static_cast<int64_t>(scenes_.size()), 1);
}

data::Batch Drawn::batch(int64_t number) const {
  const RandomStream stream(seed_, "transfer rows", static_cast<uint64_t>(number));
  auto positions = torch::empty({static_cast<int64_t>(rows_.size()) * each_}, torch::kInt64);
  auto* out = positions.data_ptr<int64_t>();
  uint64_t drawn = 0;
  for (const auto& rows : rows_) {
    const auto* from = rows.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < each_; ++i) *out++ = from[stream.below(rows.numel(), drawn++)];
  }
  return table_.batch(positions, /*grouped=*/true, history_);
}

int64_t representation_width(models::Model& model, const data::Table& table) {
  const models::EvaluationMode evaluating(model);
  const torch::NoGradGuard no_grad;
  return model.represent(table.batch(torch::zeros({1}, torch::kInt64), /*grouped=*/true, models::events_read(model)))
      .size(1);
}

LossAndHead loss_and_head(models::Model& model, const data::Batch& batch) {
  const auto grouped = nn::group(batch, model.schema().num_scenes());
  torch::Tensor loss, head;
  {
    const nn::HeadInput heard(batch.size());
    loss = model.loss(grouped.batch);
    head = heard.value();
  }
  return {loss, head.defined() ? grouped.ungroup(head) : model.represent(batch)};
}

}  // namespace polyscene::transfer
