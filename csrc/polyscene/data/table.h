#pragma once

#include <memory>
#include <string>
#include <vector>

#include "polyscene/core/random.h"
#include "polyscene/data/batch.h"
#include "polyscene/data/history.h"
#include "polyscene/data/interactions.h"
#include "polyscene/data/schema.h"
#include "polyscene/data/sequences.h"

namespace polyscene::data {

/// Default of `Table::batch`: how many past events each row carries.
inline constexpr int64_t kDefaultHistory = 50;
/// Tables of more rows that look into a file are streamed: no memory is spent on each of their rows.
inline constexpr int64_t kStreamedRows = int64_t{1} << 25;

/// How the codes of one source map to the rows of one schema.
struct Encoding {
  std::vector<std::vector<int32_t>> categorical;  ///< per field: code -> row
  std::vector<char> direct;                       ///< per field: whether every code c is row c + kFirstId
  std::vector<std::vector<int32_t>> lists;        ///< per list column: code -> row
  std::vector<int32_t> scene;                     ///< scene code -> scene of the schema, -1 for one that is refused
  std::vector<int32_t> interest;                  ///< interest code -> interest of the schema, -1 for an unknown one
  std::vector<int64_t> column;                    ///< field of the schema -> column of the source
  std::vector<int64_t> number;                    ///< numeric field of the schema -> numeric column of the source
  std::vector<int64_t> list;                      ///< list field of the schema -> list column of the source
};

/// Rows of a source, seen through a schema.
class Table {
 public:
  /// `rows` int64 [n] selects rows of `columns` (undefined: all). Throws ValueError for missing columns or refused
  /// scenes.
  Table(std::shared_ptr<const Columns> columns, std::shared_ptr<const Schema> schema, torch::Tensor rows = {},
        std::string role = "");

  int64_t size() const { return size_; }
  const Schema& schema() const { return *schema_; }
  std::shared_ptr<const Schema> schema_ptr() const { return schema_; }
  std::shared_ptr<const Columns> columns() const { return columns_; }
  const torch::Tensor& rows() const { return rows_; }
  const std::string& role() const { return role_; }  ///< "train", "valid", "test" or ""
  const Encoding& encoding() const { return *encoding_; }

  /// Behaviour that batches carry; the training table's rows never see themselves or what came later.
  void set_history(std::shared_ptr<const History> history) { history_ = std::move(history); }
  std::shared_ptr<const History> history() const { return history_; }
  /// What rankings leave out besides the training rows: for test rows, those of validation.
  void set_also_seen(std::shared_ptr<const Interactions> also_seen) { also_seen_ = std::move(also_seen); }
  std::shared_ptr<const Interactions> also_seen() const { return also_seen_; }
  /// What users did in order, for task sequence: each row carries what its user did strictly before it.
  void set_sequences(std::shared_ptr<const Sequences> sequences) { sequences_ = std::move(sequences); }
  std::shared_ptr<const Sequences> sequences() const { return sequences_; }
  /// Whether batches can carry events: from a column of theirs or from the history.
  bool has_events() const;

  /// Whether the columns look into a file.
  bool mapped() const;
  /// Whether they do and have more than `kStreamedRows` rows.
  bool streams() const;

  /// Rows at `positions` (int64 [B]); `grouped` sorts them stably by scene and fills `scene_offsets`; `history` is how
  /// many past events each row carries (0: none). Throws IndexError for a position outside [0, size).
  /// With `shared`, each row of a schema with a reserved scene shows that scene with probability 1 / (S + 1), numbers
  /// drawn at the row's position: so the reserved scene is trained.
  Batch batch(const torch::Tensor& positions, bool grouped = false, int64_t history = kDefaultHistory,
              const RandomStream* shared = nullptr) const;
  /// All rows in table order, without history.
  torch::Tensor scenes() const;  ///< int64 [n]
  torch::Tensor labels() const;  ///< float32 [n]
  torch::Tensor users() const;   ///< int64 [n]
  torch::Tensor items() const;   ///< int64 [n]
  torch::Tensor times() const;   ///< int64 [n]; undefined without a time column

  /// The rows at `positions` as a table of their own; keeps role and history.
  Table take(const torch::Tensor& positions) const;
  /// sha256 of the selected rows and the source's digest: the identity of a split.
  std::string digest() const;

 private:
  std::shared_ptr<const Columns> columns_;
  std::shared_ptr<const Schema> schema_;
  std::shared_ptr<const Encoding> encoding_;
  std::shared_ptr<const History> history_;
  std::shared_ptr<const Interactions> also_seen_;
  torch::Tensor rows_;
  std::string role_;
  int64_t size_ = 0;
  std::shared_ptr<const Sequences> sequences_;

  int64_t source_row(int64_t position) const;
  void gather_categorical(const std::vector<int64_t>& rows, Batch& out) const;
  void gather_numbers(const std::vector<int64_t>& rows, Batch& out) const;
  void gather_lists(const std::vector<int64_t>& rows, Batch& out) const;
  Events gather_history(const std::vector<int64_t>& rows, const Batch& out, int64_t length) const;
  Events gather_sequences(const std::vector<int64_t>& rows, const Batch& out, int64_t length) const;
  torch::Tensor column(int64_t field) const;
  bool own_events(const ListField& field) const;
};

}  // namespace polyscene::data
