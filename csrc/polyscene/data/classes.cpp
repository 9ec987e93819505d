#include "polyscene/data/classes.h"

#include "polyscene/core/json.h"

namespace polyscene::data {

bool has_classes(const std::string& task) { return task == "text" || task == "image"; }

int64_t num_classes(const Schema& schema) {
  TORCH_CHECK_VALUE(has_classes(schema.task), "num_classes: the task must be 'text' or 'image', got '", schema.task,
                    "'");
  return static_cast<int64_t>(schema.label_high) + 1;
}

std::vector<std::string> class_names(const Schema& schema) {
  const auto reader = Json::parse(schema.reader, nullptr, /*allow_exceptions=*/false);
  if (!has_classes(schema.task) || !reader.is_object() || !reader.contains("classes")) return {};
  return reader["classes"].get<std::vector<std::string>>();
}

}  // namespace polyscene::data
