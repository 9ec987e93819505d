#include "polyscene/eval/predict.h"

#include <limits>

#include "polyscene/core/memory.h"
#include "polyscene/data/batches.h"
#include "polyscene/data/classes.h"
#include "polyscene/eval/scores_after.h"

namespace polyscene::eval {
namespace {

constexpr int64_t kWarm = 8;    // batches after which the heap has about the size that it keeps
constexpr int64_t kRows = 256;  // rows of task sequence, each with the scores of its scene's items

// Scores of the rows' own items after what came before; -inf for those that are not ranked.
torch::Tensor own_scores(models::Model& model, const data::Batch& batch) {
  auto out = torch::full({batch.size()}, -std::numeric_limits<float>::infinity());
  for (int64_t s = 0; s < model.schema().num_scenes(); ++s) {
    const auto rows = batch.scene.eq(s).nonzero().squeeze(1);
    const auto items = models::scene_items(model, s);
    if (rows.numel() == 0 || items.numel() == 0) continue;
    const auto mine = batch.take(rows);
    const auto place = torch::searchsorted(items, mine.item).clamp_max(items.numel() - 1);
    const auto scores = scores_after(model, mine, s, items).gather(1, place.unsqueeze(1)).squeeze(1);
    out.index_copy_(
        0, rows,
        scores.masked_fill(items.index_select(0, place).ne(mine.item), -std::numeric_limits<float>::infinity()));
  }
  return out;
}

}  // namespace

torch::Tensor predict_logits(models::Model& model, const data::Table& table, int64_t batch_size) {
  TORCH_CHECK_VALUE(table.schema().digest() == model.schema().digest(), model.name(),
                    ": the table was encoded with another schema; read it with schema=model.schema");
  keep_freed_memory();
  const torch::NoGradGuard no_grad;
  const models::EvaluationMode evaluation(model);
  torch::Tensor out;
  int64_t scored = 0;
  const bool follows = model.schema().task == "sequence";
  if (follows) model.encode();
  data::Batches batches(table, follows ? std::min(batch_size, kRows) : batch_size, /*shuffle=*/false, 0, 0,
                        follows ? events_wanted(model) : model.history_length());
  while (const auto batch = batches.next()) {
    const auto logits = follows ? own_scores(model, *batch) : model.forward(*batch);
    if (!out.defined()) {
      auto shape = logits.sizes().vec();
      shape[0] = table.size();
      out = torch::empty(shape, logits.options());
    }
    out.index_copy_(0, batch->row, logits);
    if (++scored == kWarm) use_large_pages_on_heap(/*now=*/false);
  }
  if (!out.defined() && data::has_classes(model.schema().task))
    return torch::empty({0, data::num_classes(model.schema())});
  if (!out.defined()) return torch::empty({0});
  const auto bad = out.isnan().nonzero();
  TORCH_CHECK_VALUE(bad.size(0) == 0, model.name(), ": the score of row ",
                    bad.size(0) ? bad[0][0].item<int64_t>() + 1 : 0, " is NaN");
  return out;
}

}  // namespace polyscene::eval
