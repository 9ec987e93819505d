#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "polyscene/data/strings.h"

namespace polyscene::data {

/// One source in columns, as stored: codes of *all* its ids and raw numbers. Knows nothing of a split or of a model, so
/// a new split never rewrites it. N rows, F categorical, M numeric columns.
struct Columns {
  int64_t rows = 0;

  std::vector<std::string> categorical;  ///< names of the F columns
  torch::Tensor codes;                   ///< int32 [N, F], position in `ids[f]`, -1 where the cell is empty
  std::vector<Strings> ids;              ///< per column, the distinct ids

  std::vector<std::string> numeric;  ///< names of the M columns
  torch::Tensor numbers;             ///< float32 [N, M], NaN where the cell is empty

  std::vector<std::string> lists;  ///< names of the multi-hot and sequence columns
  std::vector<Ragged> list_codes;  ///< per column, int32 codes of each row's ids, oldest first
  std::vector<Strings> list_ids;   ///< per column, the distinct ids

  torch::Tensor scene;                   ///< int32 [N], position in `scene_names`
  std::vector<std::string> scene_names;  ///< names of all scenes of the source; one scene "all" when it has none

  torch::Tensor label;   ///< float32 [N]; undefined when the source has none
  torch::Tensor weight;  ///< float32 [N]; undefined when the source has none
  torch::Tensor time;    ///< int64 [N]; undefined when the source has none

  Ragged interest;       ///< int32 codes of each row's interests; undefined when the source has none
  Strings interest_ids;  ///< the distinct interests

  /// Throws ValueError when shapes, types or code ranges do not fit together; names the column and the row.
  void check() const;
  /// sha256 of names and contents, 64 hexadecimal digits.
  std::string digest() const;
  int64_t categorical_index(const std::string& name) const;  ///< -1 when there is none

  /// Writes the compiled form (one safetensors file), atomically.
  void save(const std::string& path) const;
  /// Opens the compiled form; the tensors are memory-mapped, so opening costs no memory.
  static std::shared_ptr<const Columns> open(const std::string& path);
};

}  // namespace polyscene::data
