#pragma once

#include <string>

#include "polyscene/data/table.h"

namespace polyscene::eval {

/// The data's own codes of a field in each row of a table, int64 [n], so that ids that the schema does not know are
/// told apart; -1 for an empty cell.
torch::Tensor codes_of(const data::Table& table, int64_t field);

/// What a scene is called in results: "shared" without scenes.
std::string scene_name(const data::Schema& schema, int64_t scene);

}  // namespace polyscene::eval
