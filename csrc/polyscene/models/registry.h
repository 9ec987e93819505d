#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "polyscene/models/base.h"
#include "polyscene/models/serving.h"

namespace polyscene::models {

/// A registered model: how to make it and what its options are.
struct Entry {
  std::string name;
  std::vector<std::string> tasks;
  std::function<std::shared_ptr<Model>(std::shared_ptr<const data::Schema>, const OptionMap&)> create;
  std::function<std::vector<OptionField>()> options;
  bool serves_newcomers = false;  ///< is a ServesNewcomers
  bool finds_similar = false;     ///< is a FindsSimilar
  bool gives_reasons = false;     ///< is a GivesReasons
};

/// Names in registration order, all or those of one task.
std::vector<std::string> list(const std::string& task = "");
/// Names of those of which `can` is true, in registration order: list(&Entry::finds_similar).
std::vector<std::string> list(bool Entry::*can);
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
  return {name,
          std::move(tasks),
          [owner](std::shared_ptr<const data::Schema> schema, const OptionMap& values) -> std::shared_ptr<Model> {
            return std::make_shared<Impl>(std::move(schema), options_from<Options>(owner, values));
          },
          [] { return option_fields<Options>(); },
          std::is_base_of_v<ServesNewcomers, Impl>,
          std::is_base_of_v<FindsSimilar, Impl>,
          std::is_base_of_v<GivesReasons, Impl>};
}

}  // namespace polyscene::models
