#pragma once

#include "polyscene/models/single/field_model.h"

namespace polyscene::models {

/// Options for `FactorizationMachine`.
struct FactorizationMachineOptions {
  FieldOptions common;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    FieldOptions::fields(self.common, visit);
  }
};

/// Second-order factorisation machine (Rendle, ICDM 2010).
///
///   logit = b + sum_f w_f + u . z + sum_{f < g} v_f . v_g
///
/// Numeric columns are fields whose vector is their value times a vector of their own; the mean of a multi-hot column
/// is one field. Shapes: v [B, F + M, D].
class FactorizationMachineImpl : public FieldModel {
 public:
  explicit FactorizationMachineImpl(std::shared_ptr<const data::Schema> schema,
                                    FactorizationMachineOptions options = {});
  std::string name() const override { return "factorization_machine"; }
  OptionMap options_map() const override { return to_map(options); }

  FactorizationMachineOptions options;

 protected:
  /// Tells "linear" and "pairs", [B] each.
  Answer body(const Rows& rows, bool explaining) override;
};
TORCH_MODULE(FactorizationMachine);

}  // namespace polyscene::models
