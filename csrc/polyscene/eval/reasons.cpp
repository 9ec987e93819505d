#include "polyscene/eval/reasons.h"

#include <limits>

#include "polyscene/core/errors.h"
#include "polyscene/eval/met.h"
#include "polyscene/models/multi/specialist.h"
#include "polyscene/models/registry.h"

namespace polyscene::eval {

Reasons recommendation_reasons(models::Model& model, int64_t user, const data::Events& events,
                               const torch::Tensor& items, const torch::Tensor& scenes) {
  const auto gives = [&](int64_t scene) {
    return dynamic_cast<models::GivesReasons*>(&models::answering(model, scene));
  };
  TORCH_CHECK_VALUE(gives(0), "explain: ", model.name(),
                    " does not know which of a user's items carried a score; those "
                    "that do: ",
                    join(models::list(&models::Entry::gives_reasons)));
  TORCH_CHECK_VALUE(model.history() && model.history()->keeps_events(), "explain: ", model.name(),
                    " was not trained, or without keeping the behaviour of users; fit it first");
  TORCH_CHECK_VALUE(items.numel() == scenes.numel(), "explain: wanted a scene an item, got ", scenes.numel(), " and ",
                    items.numel());
  const auto& schema = model.schema();
  const auto check_rows = [](const char* what, const torch::Tensor& rows, int64_t count) {
    if (rows.numel() == 0) return;
    const auto [low, high] = rows.aminmax();
    TORCH_CHECK_INDEX(low.item<int64_t>() >= 0 && high.item<int64_t>() < count, "explain: ", what, " must be in [0, ",
                      count, "), got ", low.item<int64_t>(), " to ", high.item<int64_t>());
  };
  const auto who = torch::tensor({user}, torch::kInt64);
  check_rows("user", who, schema.categorical[schema.user].rows());
  check_rows("items", items, schema.categorical[schema.item].rows());
  check_rows("scenes", scenes, schema.num_scenes());
  const torch::NoGradGuard no_grad;
  const models::EvaluationMode evaluating(model);
  model.encode();
  const auto met = met_of(behaviour(*model.history(), who, events, std::numeric_limits<int32_t>::max()));
  // As when recommending: who met more since training is a newcomer to a model that serves them.
  const bool folded = dynamic_cast<models::ServesNewcomers*>(&models::answering(model, 0)) && events.defined() &&
                      events.item.numel() > 0;
  Reasons out{met.item, met.scene, torch::zeros({items.numel(), met.item.numel()})};
  for (int64_t s = 0; s < schema.num_scenes(); ++s) {
    const auto at = scenes.eq(s).nonzero().squeeze(1);
    if (at.numel() == 0) continue;
    out.part.index_copy_(0, at,
                         gives(s)->reasons(folded ? 0 : user, met, s, items.index_select(0, at)).to(torch::kFloat32));
  }
  return out;
}

}  // namespace polyscene::eval
