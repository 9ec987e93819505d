#pragma once

#include <map>
#include <string>
#include <vector>

#include "polyscene/models/base.h"

namespace polyscene::models {

/// Narrower tables stay as they are: four bytes of scale a row would eat what 8 bits save.
inline constexpr int64_t kNarrowestInt8 = 8;

/// Names of the lookup tables that may hold packed rows (`nn/int8_rows.h`): those of every embedding of features, the
/// factors of `mf`, the events of `scene_branch`; not what is narrower than `kNarrowestInt8`.
std::vector<std::string> int8_tables(const Model& model);
/// Whether a table holds packed rows. Such a model computes as before and cannot be trained.
bool is_quantized(const Model& model);
/// Prepares the tables that `state` holds packed, so that `load_state` can copy them.
void expect_int8(Model& model, const std::map<std::string, torch::Tensor>& state);

}  // namespace polyscene::models
