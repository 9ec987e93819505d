#include "polyscene/eval/reasons.h"

#include <limits>

#include "polyscene/core/errors.h"
#include "polyscene/eval/met.h"
#include "polyscene/models/registry.h"

namespace polyscene::eval {

Reasons recommendation_reasons(models::Model& model, int64_t user, const data::Events& events,
                               const torch::Tensor& items, const torch::Tensor& scenes) {
  auto* gives = dynamic_cast<models::GivesReasons*>(&model);
  TORCH_CHECK_VALUE(gives, "explain: ", model.name(),
                    " does not know which of a user's items carried a score; those "
                    "that do: ",
                    join(models::list(&models::Entry::gives_reasons)));
  TORCH_CHECK_VALUE(model.history() && model.history()->keeps_events(), "explain: ", model.name(),
                    " was not trained, or without keeping the behaviour of users; fit it first");
  TORCH_CHECK_VALUE(items.numel() == scenes.numel(), "explain: wanted a scene an item, got ", scenes.numel(), " and ",
                    items.numel());
  const torch::NoGradGuard no_grad;
  const models::EvaluationMode evaluating(model);
  model.encode();
  const auto who = torch::tensor({user}, torch::kInt64);
  const auto met = met_of(behaviour(*model.history(), who, events, std::numeric_limits<int32_t>::max()));
  const bool changed = events.defined() && events.item.numel() > 0;
  Reasons out{met.item, met.scene, torch::zeros({items.numel(), met.item.numel()})};
  for (int64_t s = 0; s < model.schema().num_scenes(); ++s) {
    const auto at = scenes.eq(s).nonzero().squeeze(1);
    if (at.numel() == 0) continue;
    out.part.index_copy_(0, at,
                         gives->reasons(changed ? 0 : user, met, s, items.index_select(0, at)).to(torch::kFloat32));
  }
  return out;
}

}  // namespace polyscene::eval
