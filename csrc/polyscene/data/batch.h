#pragma once

#include <map>
#include <string>

#include "polyscene/data/strings.h"

namespace polyscene::data {

/// What users did before each row of a batch, oldest first: event j of row b is number offsets[b] + j.
struct Events {
  torch::Tensor offsets;  ///< int64 [B + 1]
  torch::Tensor item;     ///< int32 [L], rows of the item vocabulary
  torch::Tensor scene;    ///< int64 [L]
  torch::Tensor label;    ///< float32 [L]
  torch::Tensor time;     ///< int64 [L], 0 when the data has no time
  Ragged interest;        ///< int32 interests of each event; undefined when the data has none

  bool defined() const { return offsets.defined(); }
  Events take(const torch::Tensor& rows) const;
  /// The newest `length` events of each row; these where no row has more.
  Events newest(int64_t length) const;
  /// Those whose `wanted` (bool [L]) is true.
  Events keep(const torch::Tensor& wanted) const;
  /// The view of one scene: its events alone.
  Events of_scene(int64_t scene) const { return keep(this->scene.eq(scene)); }
  /// Time since the event before, int64 [L]; 0 for the first of a row.
  torch::Tensor gaps() const;
  Events to(torch::Device device) const;
};

/// The events of `older` and then those of `newer`, row by row.
Events joined(const Events& older, const Events& newer);

/// Rows of a table as tensors. B rows, F categorical fields, M numeric columns, S scenes.
struct Batch {
  torch::Tensor categorical;               ///< int32 [B, F], rows of each field's vocabulary (0 unknown, 1 missing)
  torch::Tensor numeric;                   ///< float32 [B, M], preprocessed
  std::map<std::string, Ragged> sequence;  ///< multi-hot and sequence columns by name, int32 rows
  torch::Tensor scene;                     ///< int64 [B]
  torch::Tensor scene_offsets;             ///< int64 [S + 1] on the CPU when rows are grouped by scene, else undefined
  torch::Tensor label;                     ///< float32 [B]; undefined when the source has none
  torch::Tensor weight;                    ///< float32 [B]; undefined when the source has none
  torch::Tensor user;                      ///< int64 [B], rows of the user vocabulary; undefined without a user column
  torch::Tensor item;                      ///< int64 [B], rows of the item vocabulary; undefined without an item column
  torch::Tensor negative;                  ///< int64 [B, N], items the user did not meet; undefined unless drawn
  torch::Tensor row;                       ///< int64 [B], positions in the table
  torch::Tensor time;                      ///< int64 [B]; undefined without a time column
  Ragged interest;                         ///< int32 interests of each row; undefined without an interest column
  Events history;                          ///< what the user did before; undefined unless asked for
  std::string schema_digest;               ///< the schema these rows were encoded with
  torch::Tensor next_item;      ///< int64 [L], in task sequence the item that followed each event of `history`
  torch::Tensor next_scene;     ///< int64 [L], its scene
  torch::Tensor next_negative;  ///< int64 [L, N], items of that scene the user did not meet; undefined unless drawn

  int64_t size() const { return scene.numel(); }
  /// Rows `index` in that order; grouping is dropped. Throws IndexError for an index outside [0, size).
  Batch take(const torch::Tensor& index) const;
  /// All tensors on `device`, `scene_offsets` stays on the CPU.
  Batch to(torch::Device device) const;
};

}  // namespace polyscene::data
