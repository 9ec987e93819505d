#include "polyscene/eval/predict.h"

#include "polyscene/core/memory.h"
#include "polyscene/data/batches.h"

namespace polyscene::eval {
namespace {

constexpr int64_t kWarm = 8;  // batches after which the heap has about the size that it keeps

}  // namespace

torch::Tensor predict_logits(models::Model& model, const data::Table& table, int64_t batch_size) {
  TORCH_CHECK_VALUE(table.schema().digest() == model.schema().digest(), model.name(),
                    ": the table was encoded with another schema; read it with schema=model.schema");
  keep_freed_memory();
  const torch::NoGradGuard no_grad;
  const models::EvaluationMode evaluation(model);
  torch::Tensor out;
  int64_t scored = 0;
  data::Batches batches(table, batch_size, /*shuffle=*/false, 0, 0, model.history_length());
  while (const auto batch = batches.next()) {
    const auto logits = model.forward(*batch);
    if (!out.defined()) out = torch::empty({table.size()}, logits.options());
    out.index_copy_(0, batch->row, logits);
    if (++scored == kWarm) use_large_pages_on_heap(/*now=*/false);
  }
  if (!out.defined()) return torch::empty({0});
  const auto bad = out.isnan().nonzero();
  TORCH_CHECK_VALUE(bad.size(0) == 0, model.name(), ": the score of row ",
                    bad.size(0) ? bad[0][0].item<int64_t>() + 1 : 0, " is NaN");
  return out;
}

}  // namespace polyscene::eval
