#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "polyscene/data/schema.h"

namespace polyscene::data {

/// Whether labels of a task are classes: of "text" and "image".
bool has_classes(const std::string& task);

/// Classes of such a task (C): the largest training label + 1. Throws ValueError for another task.
int64_t num_classes(const Schema& schema);

/// Their names, as the reader of the training data kept them; empty for other tasks and for data without a reader.
std::vector<std::string> class_names(const Schema& schema);

}  // namespace polyscene::data
