#pragma once

#include <string>
#include <vector>

#include "polyscene/data/table.h"
#include "polyscene/models/base.h"

namespace polyscene::train {

/// Rows of some scenes, named; the table itself when none are. Throws ValueError for an unknown name.
data::Table rows_of(const data::Table& table, const std::vector<std::string>& scenes);

/// Rows of users who have training rows in the row's scene; the table itself where users or items are not named.
data::Table of_known(const data::Table& table, const data::Table& train, const models::Model& model);

/// Weights that balance labels and scenes, [N], mean 1; undefined when neither is wanted.
torch::Tensor balance(const data::Table& table, bool classes, bool scenes);

/// Whether models of a task are judged by rankings.
inline bool ranks(const std::string& task) { return task == "ranking" || task == "sequence"; }

}  // namespace polyscene::train
