#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "polyscene/models/base.h"

namespace polyscene::models {

/// A registered model: how to make it and what its options are.
struct Entry {
  std::string name;
  std::vector<std::string> tasks;
  std::function<std::shared_ptr<Model>(std::shared_ptr<const data::Schema>, const OptionMap&)> create;
  std::function<std::vector<OptionField>()> options;
};

/// Names in registration order, all or those of one task.
std::vector<std::string> list(const std::string& task = "");
/// Throws ValueError that lists the known names.
const Entry& find(const std::string& name);
/// Makes a registered model. Throws ValueError for unknown names and options.
std::shared_ptr<Model> create(const std::string& name, std::shared_ptr<const data::Schema> schema,
                              const OptionMap& options = {});
/// Adds a model at run time (plug-ins). Throws ValueError when the name is taken.
void register_model(Entry entry);

/// Registry entry of a C++ model.
template <typename Impl, typename Options>
Entry entry(const char* name, const char* owner, std::vector<std::string> tasks) {
  return {name, std::move(tasks),
          [owner](std::shared_ptr<const data::Schema> schema, const OptionMap& values) -> std::shared_ptr<Model> {
            return std::make_shared<Impl>(std::move(schema), options_from<Options>(owner, values));
          },
          [] { return option_fields<Options>(); }};
}

}  // namespace polyscene::models
