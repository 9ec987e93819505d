#pragma once

#include <functional>
#include <string>
#include <vector>

#include "polyscene/core/options.h"

namespace polyscene::transfer {

/// A way to carry what source scenes taught into a target scene, as configs name it.
struct Mechanism {
  std::string name;
  std::string doc;
  std::function<std::vector<OptionField>()> options;  ///< what `transfer.settings` may hold
};

/// All mechanisms, the whole flow "migrate" first.
const std::vector<Mechanism>& mechanisms();

/// Throws ValueError that lists the known names.
const Mechanism& find_mechanism(const std::string& name);

}  // namespace polyscene::transfer
