#pragma once

#include <string>
#include <vector>

#include "polyscene/models/base.h"

namespace polyscene::transfer {

/// Rows of one field of the schema within a lookup table.
struct FieldRange {
  std::string field;
  int64_t offset = 0;  ///< first row in the table
  int64_t rows = 0;
  bool list = false;  ///< a multi-hot column with rows of its own
};

/// A lookup table of a model.
struct TableLayout {
  std::string parameter;           ///< dotted name of the weight
  std::vector<FieldRange> fields;  ///< empty when they are not known
};

/// Which fields the lookup tables of a model hold. A fused table knows its fields. A plain embedding has the field with
/// as many rows; where several have, the one that its name begins with ("user" and "item" stand for those columns).
std::vector<TableLayout> layouts(const models::Model& model);

}  // namespace polyscene::transfer
