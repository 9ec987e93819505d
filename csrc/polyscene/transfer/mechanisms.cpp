#include "polyscene/transfer/mechanisms.h"

#include <algorithm>

#include "polyscene/core/errors.h"
#include "polyscene/models/multi/adapted.h"
#include "polyscene/transfer/aligned.h"
#include "polyscene/transfer/balanced.h"
#include "polyscene/transfer/consolidated.h"
#include "polyscene/transfer/distilled.h"
#include "polyscene/transfer/fine_tuned.h"
#include "polyscene/transfer/low_rank.h"
#include "polyscene/transfer/self_taught.h"
#include "polyscene/transfer/warm_start.h"

namespace polyscene::transfer {
namespace {

// The field list of an options struct with other defaults, without what a mechanism settles or the section says.
template <typename Options>
std::function<std::vector<OptionField>()> fields_of(const Options& defaults, std::vector<std::string> without = {}) {
  without.insert(without.end(), {"lr_scale", "seed"});
  return [defaults, without] {
    auto out = option_fields<Options>(defaults);
    std::erase_if(
        out, [&](const auto& field) { return std::find(without.begin(), without.end(), field.name) != without.end(); });
    return out;
  };
}

}  // namespace

const std::vector<Mechanism>& mechanisms() {
  static const auto none = [] { return std::vector<OptionField>(); };
  static const std::vector<Mechanism> all = {
      {"migrate", "sources fused, then continued in the target, tied to where they start (migration loss, L2-SP)",
       none},
      {"fine_tune", "continued block by block: frozen parts, gradual unfreezing, discriminative rates",
       fields_of(FineTunedOptions(), {"frozen"})},
      {"linear_probe", "a new head on the frozen source model",
       fields_of(FineTunedOptions().top(1).reset_head(true), {"frozen", "gradual", "block_epochs"})},
      {"side_tuning", "the frozen source model and one that trains beside it, blended", none},
      {"adapters", "small layers behind each hidden layer of the frozen source model",
       fields_of(models::AdaptedOptions(), {"model", "settings"})},
      {"lora", "a matrix of low rank added to each matrix of the frozen source model", fields_of(LowRankOptions())},
      {"ewc", "continued, held where the Fisher information of the sources is high", fields_of(ConsolidatedOptions())},
      {"distillation", "continued from the start, taught by the source models",
       fields_of(DistilledOptions(), {"weights", "shifts"})},
      {"dann", "continued, hidden layers that no discriminator can tell the scenes by",
       fields_of(AlignedOptions(), {"kind"})},
      {"mmd", "continued, hidden layers with a small mean discrepancy between scenes",
       fields_of(AlignedOptions().kind("mmd"), {"kind", "ramp", "gamma", "discriminator"})},
      {"coral", "continued, hidden layers with the same covariances in all scenes",
       fields_of(AlignedOptions().kind("coral"), {"kind", "ramp", "gamma", "discriminator"})},
      {"pseudo_labels", "continued, confident answers on rows without labels taken for labels",
       fields_of(PseudoLabelledOptions())},
      {"mean_teacher", "continued, in agreement with the running mean of itself", fields_of(MeanTeacherOptions())},
      {"uncertainty", "all scenes together, each weighted by a learned variance",
       fields_of(BalancedOptions(), {"kind", "shared"})},
      {"pcgrad", "all scenes together, conflicting gradients projected",
       fields_of(BalancedOptions().kind("pcgrad"), {"kind"})},
      {"reptile", "a start from which a few steps on any scene lead far, then continued",
       fields_of(WarmStartOptions(), {"kind", "outer_only"})},
      {"fomaml", "the same by first-order MAML", fields_of(WarmStartOptions().kind("fomaml").outer_lr(1e-3), {"kind"})},
  };
  return all;
}

const Mechanism& find_mechanism(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& mechanism : mechanisms()) {
    if (mechanism.name == name) return mechanism;
    known.push_back(mechanism.name);
  }
  TORCH_CHECK_VALUE(false, "transfer: mechanism must be one of ", join(known), ", got '", name, "'",
                    suggestion(name, known));
}

}  // namespace polyscene::transfer
