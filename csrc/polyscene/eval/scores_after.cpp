#include "polyscene/eval/scores_after.h"

#include <limits>

#include "polyscene/eval/met.h"
#include "polyscene/models/sequence_model.h"

namespace polyscene::eval {
namespace {

// A model may hold the tensor that it gave, or another of the same storage.
torch::Tensor of_its_own(torch::Tensor&& scores) {
  return scores.use_count() > 1 || scores.storage().use_count() > 1 ? scores.clone() : std::move(scores);
}

}  // namespace

int64_t events_wanted(const models::Model& model) {
  return model.history_length() > 0 ? models::events_read(model) : std::numeric_limits<int32_t>::max();
}

torch::Tensor scores_after(models::Model& model, data::Batch rows, int64_t scene, const torch::Tensor& items) {
  TORCH_CHECK_VALUE(rows.history.defined(), model.name(),
                    ": the rows carry no history; the table does not know the order of its users' events");
  rows.history = rows.history.newest(events_wanted(model));
  torch::Tensor out;
  if (auto* follows = dynamic_cast<models::FollowsEvents*>(&model)) {
    out = follows->score_events(rows.history, scene, items);
  } else if (auto* serves = dynamic_cast<models::ServesNewcomers*>(&model)) {
    out = serves->score_newcomers(met_of(rows.history), scene, items);
  } else {
    out = model.forward(rows);
  }
  TORCH_CHECK_VALUE(out.dim() == 2 && out.size(0) == rows.size() && out.size(1) == items.numel(), model.name(),
                    ": the scores of ", rows.size(), " rows of a scene with ", items.numel(), " items must be [",
                    rows.size(), ", ", items.numel(), "], got ", out.sizes());
  out = out.to(torch::kFloat32).contiguous();
  return of_its_own(std::move(out));
}

torch::Tensor scores_for(models::Model& model, const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
  auto out = model.score_items(users, scene, items).to(torch::kFloat32).contiguous();
  TORCH_CHECK_VALUE(out.dim() == 2 && out.size(0) == users.numel() && out.size(1) == items.numel(), model.name(),
                    ": score_items must return [", users.numel(), ", ", items.numel(), "], got ", out.sizes());
  return of_its_own(std::move(out));
}

}  // namespace polyscene::eval
