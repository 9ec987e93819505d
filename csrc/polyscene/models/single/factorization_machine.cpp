#include "polyscene/models/single/factorization_machine.h"

#include "polyscene/nn/mixture.h"

namespace polyscene::models {

FactorizationMachineImpl::FactorizationMachineImpl(std::shared_ptr<const data::Schema> schema,
                                                   FactorizationMachineOptions options_)
    : FieldModel(std::move(schema), options_.common, "FactorizationMachine", {.linear = true, .numbers = true}),
      options(std::move(options_)) {}

SceneModel::Answer FactorizationMachineImpl::body(const Rows& rows, bool explaining) {
  const auto first = linear(rows);
  const auto pairs = nn::pair_products(fields(rows));  // [B]
  Answer out{first.logits + pairs, first.penalty};
  if (explaining) out.parts = {{"linear", first.logits}, {"pairs", pairs}};
  return out;
}

}  // namespace polyscene::models
