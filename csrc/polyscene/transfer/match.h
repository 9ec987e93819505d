#pragma once

#include <map>
#include <string>
#include <vector>

#include "polyscene/models/base.h"

namespace polyscene::transfer {

/// What became of each parameter of a source model.
struct Matched {
  std::vector<std::string> copied;      ///< same name and shape
  std::vector<std::string> by_id;       ///< lookup tables, row by row
  std::vector<std::string> unmatched;   ///< parameters of the target that kept their values, with the reason
  std::vector<std::string> unused;      ///< parameters of the source that the target lacks
  std::map<std::string, int64_t> rows;  ///< rows that were carried over, by table
};

/// Writes the parameters and buffers of `source` into `target`.
///
/// Tensors are matched by name and shape. Where the two schemas differ, the rows of lookup tables are matched by field
/// and id (unknown and missing rows included, rows of ids that the source never saw stay), and a parameter whose name
/// speaks of scenes or interests is carried only if both schemas list the same ones in the same order: its entries
/// would mean something else. Nothing is guessed: what does not match keeps its value and is told.
Matched carry(models::Model& target, const models::Model& source);

}  // namespace polyscene::transfer
