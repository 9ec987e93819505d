#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "polyscene/data/columns.h"

namespace polyscene::data {

/// Rows 0 and 1 of every vocabulary.
inline constexpr int64_t kUnknown = 0;
inline constexpr int64_t kMissing = 1;
inline constexpr int64_t kFirstId = 2;

/// A categorical field: row 0 is any unknown or rare id, row 1 an empty cell, row r >= 2 the id `ids.at(r - 2)`.
struct CategoricalField {
  std::string name;
  Strings ids;
  int64_t min_count = 1;
  std::string side =
      "context";  ///< "user" or "item" when it is a function of that id in the training rows, else "context"

  int64_t rows() const { return ids.size() + kFirstId; }
};

/// A multi-hot or sequence column; `shares` names the categorical field whose vocabulary it uses ("" for its own).
struct ListField {
  std::string name;
  std::string kind = "multi_hot";  ///< "multi_hot" or "sequence"
  std::string shares;
  int64_t max_length = 50;  ///< the newest are kept
  Strings ids;              ///< empty when shared

  int64_t rows() const { return ids.size() + kFirstId; }
};

/// A numeric field: x -> (clip(fill_if_missing(x), low, high) - shift) / scale, all fitted on training rows.
struct NumericField {
  std::string name;
  std::string scaling = "z_score";  ///< "z_score", "min_max", "zero_mean", "median" or "none"
  std::string missing = "mean";     ///< "mean", "median", "knn" or "category"
  std::string outliers = "keep";    ///< "keep", "clip", "drop" or "interpolate"
  double fill = 0;                  ///< what a missing value becomes before scaling
  double low = -INFINITY;           ///< fence below which a value is an outlier
  double high = INFINITY;           ///< fence above which a value is an outlier
  double shift = 0;
  double scale = 1;
  std::string side = "context";  ///< "user", "item" or "context", as for a categorical field

  /// "category" adds a column that is 1 where the value is missing.
  int64_t width() const { return missing == "category" ? 2 : 1; }
};

/// How `fit_schema` reads columns.
struct FitOptions {
  std::string task = "ctr";
  std::string label = "label";
  std::string user;  ///< name of the categorical column that holds the user, "" for none
  std::string item;  ///< name of the categorical column that holds the item, "" for none
  int64_t min_count = 2;
  std::string unseen_scene = "error";  ///< "error", "shared" or "nearest"
  std::vector<NumericField> numeric;   ///< wanted preprocessing by name; others take the defaults
  std::vector<ListField> lists;        ///< kind, shares and max_length by name
  std::string reader;                  ///< kept as `Schema::reader`
};

/// What a model knows of the data: vocabularies, preprocessing, scenes; fitted on training rows only.
class Schema {
 public:
  std::string task = "ctr";
  std::string label = "label";
  std::vector<CategoricalField> categorical;
  std::vector<NumericField> numeric;
  std::vector<ListField> lists;
  std::vector<std::string> scenes;  ///< as seen in training; index = scene code of a batch
  std::string unseen_scene = "error";
  Strings interests;  ///< names of the K interests; empty when the data has no interest column
  int64_t user = -1;  ///< index in `categorical`, -1 for none
  int64_t item = -1;  ///< index in `categorical`, -1 for none
  bool has_time = false;
  torch::Tensor scene_rows;   ///< int64 [scenes], training rows of each
  torch::Tensor scene_label;  ///< float64 [scenes], mean training label of each
  torch::Tensor
      scene_profile;  ///< float64 [scenes, 256], hashed frequencies of ids; finds the nearest scene of an unseen one
  double label_mean = 0;  ///< over the training rows
  double label_low = 0;   ///< smallest training label
  double label_high = 1;  ///< largest training label
  std::string reader;     ///< JSON text that tells a reader of files which column is what; opaque here

  /// Scenes a model has parameters for: those of training, and one reserved when `unseen_scene` is "shared".
  int64_t num_scenes() const;
  int64_t num_fields() const { return static_cast<int64_t>(categorical.size()); }
  int64_t numeric_width() const;  ///< columns of `Batch::numeric`
  int64_t num_interests() const { return interests.size(); }
  /// Index of a categorical field. Throws ValueError that lists the known fields.
  int64_t field(const std::string& name) const;
  /// Index of a scene. Throws ValueError that lists the known scenes.
  int64_t scene(const std::string& name) const;
  int64_t list_rows(const ListField& list) const;  ///< rows of the vocabulary that the list uses
  /// sha256 of everything above, 64 hexadecimal digits.
  const std::string& digest() const;

  /// Tensors (vocabularies as bytes and offsets) and a JSON text with the rest: what checkpoints hold.
  std::map<std::string, torch::Tensor> tensors() const;
  std::string json() const;
  static std::shared_ptr<const Schema> from(const std::string& json,
                                            const std::map<std::string, torch::Tensor>& tensors);

 private:
  mutable std::string digest_;
};

/// Hashed frequencies of the ids in `rows` of `columns`: float64 [scenes of the source, 256], each row sums to 1 or 0.
torch::Tensor scene_profiles(const Columns& columns, const torch::Tensor& rows);

/// Fits a schema on the rows `train_rows` (int64 [n]) of `columns`.
/// Throws ValueError for a label outside 0/1 (ctr), no training rows, unknown or repeated names, a numeric column
/// without values.
std::shared_ptr<const Schema> fit_schema(const Columns& columns, const torch::Tensor& train_rows,
                                         const FitOptions& options);

}  // namespace polyscene::data
