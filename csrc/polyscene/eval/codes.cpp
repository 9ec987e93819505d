#include "polyscene/eval/codes.h"

namespace polyscene::eval {

torch::Tensor codes_of(const data::Table& table, int64_t field) {
  const auto codes = table.columns()->codes.select(1, table.encoding().column[field]);
  return (table.rows().defined() ? codes.index_select(0, table.rows()) : codes.narrow(0, 0, table.size()))
      .to(torch::kInt64)
      .contiguous();
}

std::string scene_name(const data::Schema& schema, int64_t scene) {
  return scene < static_cast<int64_t>(schema.scenes.size()) ? schema.scenes[scene] : "shared";
}

}  // namespace polyscene::eval
